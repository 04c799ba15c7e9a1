"""LoRAs on single experts, as PEFT has them where transformers keeps every expert by itself, as LoRAs on stacks of
experts, which GGUF and MLX have."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nitro.checkpoints.adapters import Adapter, LowRank
from nitro.errors import AdapterError

EXPERT = re.compile(r"\.experts\.(\d+)\.(?=\w+_proj$)")
STACK = ".switch_mlp."  # as mlx-lm names it


def stacked(adapter: Adapter, experts: int) -> Adapter:
    """The adapter with one change for all experts of a layer. Experts without one, and smaller ranks, are filled up
    with zeros. `experts`: how many the model has. Raises AdapterError for an expert that it does not have."""
    found: dict[str, LowRank] = {}
    of_stacks: dict[str, dict[int, LowRank]] = defaultdict(dict)
    for name, change in adapter.layers.items():
        match = EXPERT.search(name)
        if match is None:
            found[name] = change
            continue
        if int(match[1]) >= experts:
            raise AdapterError(f"{adapter.path} changes {name}, and the model has {experts} experts.")
        of_stacks[EXPERT.sub(STACK, name)][int(match[1])] = change
    return replace(adapter, layers=found | {name: _stack(changes, experts) for name, changes in of_stacks.items()})


def _stack(changes: Mapping[int, LowRank], experts: int) -> LowRank:
    """All with a scale of 1."""
    any_change = next(iter(changes.values()))
    rank = max(change.rank for change in changes.values())
    rows, columns = any_change.shape
    a, b = np.zeros((experts, rank, columns), np.float32), np.zeros((experts, rows, rank), np.float32)
    for number, change in changes.items():
        a[number, : change.rank] = change.a
        b[number, :, : change.rank] = change.b * np.float32(change.scale)
    return LowRank(a, b, 1.0)
