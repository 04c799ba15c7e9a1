"""A folder in mlx-lm's layout → one for transformers: weights are unpacked, and stacks of experts are split.

For the supported models mlx-lm uses transformers' names; for others it may not, and they are refused.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.checkpoints import block_packing, mlx_packing
from nitro.checkpoints.mlx_packing import LayerPacking, PackedShape
from nitro.convert import safetensors
from nitro.convert.safetensors import write_json
from nitro.engines.runner import LoadError
from nitro.gguf.architectures import IN_ORIGINAL_LAYOUT
from nitro.gguf.tensors import ArraySpec

TYPES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}
UNPACKED = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
OBSOLETE_KEYS = (*mlx_packing.CONFIG_KEYS, "converted_from")  # of config.json: no longer true
REWRITTEN = ("config.json", "model.safetensors.index.json")
COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "additional_chat_templates/*.jinja")  # but never code
PIECE_SIZE = 1 << 20  # weights that are unpacked at a time


@dataclass(frozen=True, slots=True)
class MlxWeight:
    """One weight of the model. `type`: what it is to become; of one that is not packed, what it is."""

    name: str
    arrays: dict[str, mx.array]  # by mlx_packing.PARTS. Read when they are used
    packing: LayerPacking | None
    type: mx.Dtype
    blocks: str | None = None  # ggml's type, where the weight is in its blocks

    def shape(self) -> tuple[int, ...]:
        """Of the unpacked weight: [rows, columns], or [experts, rows, columns]."""
        *rows, columns = self.arrays["weight"].shape
        if self.blocks:
            return (*rows, block_packing.columns(columns, self.blocks))
        return (*rows, columns if self.packing is None else mlx_packing.columns(columns, self.packing.bits))

    def parts(self) -> list[ArraySpec]:
        """What it becomes: one tensor, or of a stack of experts one for each."""
        part = ArraySpec(self.name, TYPES[self.type], self.shape())
        if not mlx_packing.is_expert_stack(self.name):
            return [part]
        names = [mlx_packing.expert_name(self.name, number) for number in range(part.shape[0])]
        return [replace(part, name=name, shape=part.shape[1:]) for name in names]

    def pieces(self) -> Iterator[np.ndarray]:
        """The values of its parts, one part after another, some rows at a time; bfloat16 as uint16."""
        *_, rows, columns = (1, *self.shape())
        count = prod(self.shape()) // max(rows * columns, 1)
        arrays = dict(self.arrays)
        of_experts = arrays.pop("global_scale", None)
        flat = {key: array.reshape(count * rows, -1) for key, array in arrays.items()}
        step = max(1, PIECE_SIZE // columns)
        for part in range(count):
            global_scale = None if of_experts is None else of_experts.reshape(-1)[part]
            for start in range(part * rows, (part + 1) * rows, step):
                piece = slice(start, min(start + step, (part + 1) * rows))
                array = self._unpacked({key: array[piece] for key, array in flat.items()}, global_scale)
                yield np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)

    def _unpacked(self, arrays: dict[str, mx.array], global_scale: mx.array | None) -> mx.array:
        """Computed in float32, whatever the type of the scales. `global_scale`: of the expert."""
        weight, scales, biases = arrays["weight"], arrays.get("scales"), arrays.get("biases")
        if self.blocks:
            return mx.array(block_packing.unpack(np.array(weight), self.blocks)).astype(self.type)
        if self.packing is None or scales is None:
            return weight
        if biases is not None:
            scales = scales.astype(mx.float32)
            biases = biases.astype(mx.float32)
        values = mx.dequantize(
            weight, scales, biases, **asdict(self.packing), global_scale=global_scale, dtype=mx.float32
        )
        return values.astype(self.type)


def check(source: Path) -> None:
    """Raises LoadError where the folder cannot be converted, as far as that shows without reading weights."""
    _weights(source, _config(source), mx.float32)


def convert(source: Path, target: Path, dtype: str = "float32") -> list[str]:
    """Convert into `target`, an empty folder. Packed weights become `dtype`, a key of UNPACKED; others keep their
    bytes.

    Returns sentences for the user. Raises LoadError and OSError; `target` is then incomplete.
    """
    config = _config(source)
    weights = _weights(source, config, UNPACKED[dtype])
    groups = safetensors.shards(weight.parts() for weight in weights)
    packed = sum(weight.packing is not None or weight.blocks is not None for weight in weights)
    safetensors.write(target, groups, _data(weights), {"format": "pt"})
    new_config = {key: value for key, value in config.items() if key not in OBSOLETE_KEYS}
    if packed:
        new_config |= {"dtype": dtype, "torch_dtype": dtype}
    write_json(target / "config.json", new_config)
    for file in sorted({file for pattern in COPIED for file in source.glob(pattern)}):
        if file.name not in REWRITTEN and file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)
    return [f"{packed} packed tensors were unpacked to {dtype}."] if packed else []


def _data(weights: list[MlxWeight]) -> Iterator[np.ndarray]:
    while weights:
        weight = weights.pop(0)  # so that its memory is freed
        yield from weight.pieces()


def _config(source: Path) -> dict[str, Any]:
    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except FileNotFoundError:
        raise LoadError(f"{source} has no config.json, so it is not a model in mlx-lm's layout.") from None
    except (ValueError, KeyError, TypeError):
        raise LoadError(f"{source / 'config.json'} cannot be read, or names no model_type.") from None
    if model_type not in IN_ORIGINAL_LAYOUT:
        raise LoadError(f"{source} is a {model_type} model; supported are {', '.join(sorted(IN_ORIGINAL_LAYOUT))}.")
    return dict(config)


def _weights(source: Path, config: dict[str, Any], unpacked: mx.Dtype) -> list[MlxWeight]:
    arrays = _arrays(source)
    found = []
    try:
        blocks = block_packing.types(config)
    except ValueError as error:
        raise LoadError(f"{source}: {error}.") from None
    for name in sorted(arrays):
        stem, _, kind = name.rpartition(".")
        if kind in mlx_packing.PARTS[1:] and f"{stem}.weight" in arrays:
            continue
        if kind == "weight" and stem in blocks:
            found.append(MlxWeight(name, {"weight": arrays[name]}, None, unpacked, blocks[stem]))
            continue
        if kind != "weight" or f"{stem}.scales" not in arrays:
            found.append(MlxWeight(name, {"weight": arrays[name]}, None, arrays[name].dtype))
            continue
        parts = {key: arrays[f"{stem}.{key}"] for key in mlx_packing.PARTS if f"{stem}.{key}" in arrays}
        found.append(MlxWeight(name, parts, _packing(source, config, stem, parts), unpacked))
    for weight in found:
        if weight.type not in TYPES:
            raise LoadError(f"{source}: tensor {weight.name} is {weight.type}, which cannot be converted.")
    arrays.clear()
    return found


def _arrays(source: Path) -> dict[str, mx.array]:
    """All arrays by name. None is read yet."""
    index = source / "model.safetensors.index.json"
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else {}
    except (ValueError, KeyError, TypeError):
        raise LoadError(f"{index} cannot be read.") from None
    files = sorted({source / name for name in listed.values()} | set(source.glob("model*.safetensors")))
    if not files:
        raise LoadError(f"{source} has no model*.safetensors.")
    arrays: dict[str, mx.array] = {}
    for file in files:
        try:
            arrays |= mx.load(str(file), format="safetensors")  # type: ignore[arg-type]
        except Exception as error:  # the library raises nothing more specific
            raise LoadError(f"{file} is missing or damaged: {error}") from None
    missing = listed.keys() - arrays.keys()
    if missing:
        raise LoadError(f"{source} lacks the tensor {min(missing)}, which its index lists.")
    return arrays


def _packing(source: Path, config: dict[str, Any], layer: str, parts: dict[str, mx.array]) -> LayerPacking:
    """How the layer is packed. Raises LoadError where config.json does not say it, or contradicts the arrays."""
    weight, scales = parts["weight"], parts["scales"]
    shape = PackedShape(weight.shape[-1], scales.shape[-1], scales.dtype == mx.uint8)
    try:
        packing = mlx_packing.of_layer(mlx_packing.quantization(config), layer, shape)
    except ValueError as error:
        raise LoadError(f"{source}: {error}.") from None
    if packing.mode == mlx_packing.AFFINE and "biases" not in parts:
        raise LoadError(f"{source} lacks the tensor {layer}.biases, which weights in the mode affine need.")
    return packing
