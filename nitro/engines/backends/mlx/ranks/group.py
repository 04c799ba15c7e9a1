"""MLX's group of ranks, as the runner needs it: what of a network each has, what all agree upon, whose tokens count.

Collective operations meet if every rank evaluates the same ones in the same order. Whatever a rank decides by numbers
of its own is agreed upon first, and each pass through the network is evaluated before anything else is built on it.
"""

import faulthandler
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from nitro.engines.backends.mlx import block_layers, sampler
from nitro.engines.backends.mlx.ranks import shares
from nitro.engines.backends.mlx.ranks.wire import Join
from nitro.engines.backends.mlx.sampler import SamplerRow
from nitro.engines.backends.mlx.self_test import Trial
from nitro.engines.backends.mlx.sharing import Alone
from nitro.engines.last_words import OF_THIS_PROCESS
from nitro.engines.runner import LoadError
from nitro.errors import reason

JOIN_SECONDS = 9.0  # in which ranks that are all there must find each other


class Rank(Alone):
    """One of several."""

    def __init__(self, group: Any, names: list[str], beside: int, pipeline: bool, ready: Callable[[], None]):
        """`group`: MLX's. `names`: of all ranks. `beside`: how many share this one's memory. `pipeline`: each has some
        of the layers, instead of a part of each. `ready`: called once this rank's weights are there."""
        self.size = group.size()
        self._group, self._names, self._beside = group, names, beside
        self._pipeline, self._ready = pipeline, ready
        self._draws = group.rank() == 0

    def share(self, network: Any) -> None:
        """By mlx-lm's own methods."""
        for name, module in network.named_modules():
            if block_layers.holds_blocks(module):
                raise LoadError(
                    f"--hosts: {name} is in ggml's blocks, which MLX cannot divide among ranks. Convert the model: "
                    "nitro convert MODEL --to mlx."
                )
        part = getattr(network, "model", None) if self._pipeline else network
        split = getattr(part, "pipeline" if self._pipeline else "shard", None)
        if split is None:
            raise LoadError(shares.no_method(type(network).__module__.rpartition(".")[2], self._pipeline))
        try:
            split(self._group)
        except Exception as error:
            raise LoadError(f"--hosts: {self.size} ranks cannot share this model: {reason(error)}") from None

    def meet(self, fingerprint: str) -> None:
        """Raises LoadError where a rank has other weights than rank 0, by their fingerprint."""
        self._ready()
        own = mx.array([int(fingerprint[:15], 16)], mx.int64)
        first, *others = mx.distributed.all_gather(own, group=self._group).tolist()  # type: ignore[misc]
        for name, other in zip(self._names[1:], others, strict=True):
            if other != first:
                raise LoadError(f"--hosts: the model of {name} is not the one of {self._names[0]}: its files differ.")

    def agree(self, trial: Trial) -> Trial:
        """Raises LoadError for a model whose layers can be cut on one rank and not on another."""
        own = mx.array([trial.token_bytes, trial.state_bytes, trial.can_truncate, trial.batches], mx.int64)
        low: list[int] = mx.distributed.all_min(own, group=self._group).tolist()  # type: ignore[assignment]
        high: list[int] = mx.distributed.all_max(own, group=self._group).tolist()  # type: ignore[assignment]
        if self._pipeline and not low[2]:
            raise LoadError("--pipeline is for models whose KV cache has neither windows nor states. Leave it out.")
        return replace(trial, token_bytes=high[0], state_bytes=high[1], can_truncate=bool(low[2]), batches=bool(low[3]))

    def least(self, number: int) -> int:
        """Of what each has for itself, where several share a memory."""
        own = mx.array([number // self._beside], mx.int64)
        found: int = mx.distributed.all_min(own, group=self._group).item()  # type: ignore[assignment]
        return found

    def draw(self, logits: mx.array, rows: list[SamplerRow], newest: mx.array | None = None) -> mx.array:
        """What rank 0 draws: the others add zeros to it. Where a rank is lost the sum is memory that nobody wrote,
        and the next step, which is on its way already, looks those tokens up: they stay within the vocabulary."""
        mx.async_eval(logits)
        own = sampler.sample(logits, rows, newest) if self._draws else mx.zeros((len(rows),), mx.uint32)
        told = mx.minimum(mx.distributed.all_sum(own, group=self._group), mx.array(logits.shape[-1] - 1, mx.uint32))
        mx.async_eval(told)
        return told


def join(rank: int, how: Join) -> Any:
    """MLX's group of all ranks. Raises LoadError. Ends the process where they do not find each other: MLX waits for
    minutes, and lets no other thread of Python run meanwhile, but faulthandler's is none."""
    os.environ.update(how.environment, MLX_RANK=str(rank))
    if not mx.distributed.is_available(how.backend):
        raise LoadError(f"--hosts: MLX has no {how.backend} on {how.names[rank]}.")
    OF_THIS_PROCESS.foretell(f"The ranks have not found each other within {JOIN_SECONDS:g} seconds", JOIN_SECONDS)
    try:
        with open(os.devnull, "wb") as nowhere, tempfile.TemporaryDirectory(prefix="nitro-ranks-") as folder:
            for name, text in how.files.items():
                file = Path(folder) / name
                file.write_text(text)
                os.environ[name] = str(file)
            faulthandler.dump_traceback_later(JOIN_SECONDS, exit=True, file=nowhere)
            try:
                return mx.distributed.init(strict=True, backend=how.backend)
            finally:
                faulthandler.cancel_dump_traceback_later()
    except Exception as error:
        raise LoadError(f"--hosts: {how.names[rank]} does not find the others: {reason(error)}") from None
    finally:
        OF_THIS_PROCESS.take_back()
