"""Reads and writes a LoRA as mlx-lm 0.32 does it: adapter_config.json and adapters.safetensors.

Tensors: NAME.lora_a [in, rank] and NAME.lora_b [rank, out], of an embedding [tokens, rank] and [rank, width], of a
stack of experts [experts, rank, in] and [experts, out, rank] (mlx_lm/tuner/lora.py). All have the same rank, and the
same scale: `lora_parameters.rank`, `lora_parameters.scale`. `lora_parameters.keys` names the layers, those of the last
`num_layers` blocks by what follows the block's number (linear_to_lora_layers in mlx_lm/tuner/utils.py); one that the
file does not have adds nothing.
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from nitro.checkpoints import adapter_kinds, safetensors_file
from nitro.checkpoints.adapter_tensors import AdapterTensors
from nitro.checkpoints.adapters import Adapter, AdapterType, LowRank, checked, common_factor, in_type, is_embedding
from nitro.errors import AdapterError

PARTS = ("lora_a", "lora_b")
IN_A_BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+)$")


def read(folder: Path) -> Adapter:
    """The adapter. Raises AdapterError with a sentence that names the setting or tensor that is not supported."""
    file = folder / adapter_kinds.WEIGHTS["mlx"]
    rank, scale = _rank_and_scale(folder / adapter_kinds.CONFIG, adapter_kinds.read_config(folder))
    layers = {}
    for name, parts in _parts(file).items():
        if len(parts) < len(PARTS):
            raise AdapterError(f"{file} has only one of the two parts of {name}.")
        change = _of_layer(name, parts["lora_a"], parts["lora_b"], scale)
        layers[name] = checked(file, name, change)
        if change.rank != rank:
            raise AdapterError(f"{file}: {name} has the rank {change.rank}, and {rank} by {adapter_kinds.CONFIG}.")
    if not layers:
        raise AdapterError(f"{file} has no tensors of a LoRA.")
    return Adapter(folder, "mlx", layers)


def write(adapter: Adapter, blocks: int, folder: Path, type: AdapterType = "F32") -> None:
    """Write the adapter in this type into `folder`, an empty one. Smaller ranks are filled up with zeros. `blocks`: how
    many the model has. Raises OSError."""
    scale = common_factor(change.scale for change in adapter.layers.values())
    rank = max(change.rank for change in adapter.layers.values())
    arrays: dict[str, np.ndarray] = {}
    for name, change in adapter.layers.items():
        missing = rank - change.rank
        a = np.concatenate([change.a, np.zeros((*change.a.shape[:-2], missing, change.a.shape[-1]), np.float32)], -2)
        b = np.concatenate([change.b, np.zeros((*change.b.shape[:-1], missing), np.float32)], -1)
        a, b = in_type(a, b * np.float32(change.scale / scale), type)
        if a.ndim == 2:
            a, b = (b, a) if is_embedding(name) else (a.T, b.T)
        arrays |= {f"{name}.lora_a": a, f"{name}.lora_b": b}
    safetensors_file.write(folder / adapter_kinds.WEIGHTS["mlx"], arrays, {"format": "mlx"})
    places = {name: IN_A_BLOCK.search(name) for name in adapter.layers}
    first = min((int(place[1]) for place in places.values() if place), default=0)
    config = {
        "fine_tune_type": "lora",
        "num_layers": blocks - first,
        "lora_parameters": {
            "rank": rank,
            "scale": scale,
            "dropout": 0.0,
            "keys": sorted({place[2] if place else name for name, place in places.items()}),
        },
    }
    (folder / adapter_kinds.CONFIG).write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")


def _of_layer(name: str, lora_a: np.ndarray, lora_b: np.ndarray, scale: float) -> LowRank:
    if lora_a.ndim != 2 or lora_b.ndim != 2:
        return LowRank(lora_a, lora_b, scale)
    return LowRank(lora_b, lora_a, scale) if is_embedding(name) else LowRank(lora_a.T, lora_b.T, scale)


def _rank_and_scale(file: Path, config: dict[str, Any]) -> tuple[int, float]:
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise AdapterError(f"{file} has fine_tune_type = {kind!r}; supported is lora.")
    settings = config.get("lora_parameters")
    if not isinstance(settings, dict):
        raise AdapterError(f"{file} has no lora_parameters.")
    rank, scale = settings.get("rank"), settings.get("scale")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterError(f"{file}: lora_parameters.rank is {rank!r}; supported is a whole number above 0.")
    if not isinstance(scale, int | float) or isinstance(scale, bool):
        raise AdapterError(f"{file}: lora_parameters.scale is {scale!r}; supported is a number.")
    return rank, float(scale)


def _parts(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """The tensors by layer and part, as float32."""
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    tensors = AdapterTensors(file)
    for name in tensors:
        layer, _, part = name.rpartition(".")
        if part not in PARTS:
            meaning = " (DoRA)" if part == "m" else ""
            raise AdapterError(f"{file}: tensor {name}{meaning} is not part of a LoRA, and the model would lack it.")
        found[layer][part] = tensors.numbers(name)
    return found
