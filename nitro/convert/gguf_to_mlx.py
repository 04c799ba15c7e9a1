"""A GGUF → a folder in mlx-lm's layout, tensor by tensor, so that memory stays near the size of the largest one.

Types that MLX's layout can hold keep the file's numbers (gguf/packing.py); all others are quantised again.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from nitro.checkpoints import block_packing, mlx_packing
from nitro.convert import safetensors
from nitro.convert.safetensors import write_json
from nitro.gguf import architectures, folder, packing, tensors, tokenizer, weights
from nitro.gguf.header import Header, Tensor, UnreadableGGUF
from nitro.gguf.packing import GROUP, Packed
from nitro.gguf.tensors import ArraySpec

log = logging.getLogger("nitro.convert")

WIDTHS = (2, 3, 4, 5, 6, 8)  # bits that MLX can pack


def check(source: Path, in_blocks: bool = False) -> None:
    """Raises UnreadableGGUF where the file cannot be converted, as far as that shows without reading weights."""
    head = architectures.read(source)
    architectures.configuration(head)
    tokenizer.build(head)
    _check_types(head, list(architectures.model_names(head)), in_blocks)


def convert(source: Path, target: Path, in_blocks: bool = False) -> list[str]:
    """Convert into `target`, an empty folder. `in_blocks`: quantised weights stay in ggml's blocks.

    Returns sentences for the user that say what was changed. Raises UnreadableGGUF and OSError; `target` is then
    incomplete.
    """
    head = architectures.read(source)
    names = list(architectures.model_names(head))
    config = architectures.configuration(head)
    _check_types(head, names, in_blocks)
    settings = _block_settings(head, names) if in_blocks else _quantization(head, names)
    files = folder.files(head, {**config, **settings})
    groups = safetensors.shards(_parts(head, name, in_blocks) for name in names)
    safetensors.write(target, groups, _data(head, names, in_blocks), safetensors.METADATA)
    for name, content in files.items():
        if isinstance(content, str):
            (target / name).parent.mkdir(exist_ok=True)
            (target / name).write_text(content, encoding="utf-8")
        else:
            write_json(target / name, content)
    return folder.notices(head) if in_blocks else _notices(head, names)


def _parts(head: Header, name: str, in_blocks: bool) -> list[ArraySpec]:
    if not in_blocks or head.tensors[name].type in weights.PLAIN:
        return tensors.parts(head, name, _bits(head.tensors[name]))
    weight = tensors.in_blocks(head, name)
    return [weight, ArraySpec(f"{weight.name.removesuffix('.weight')}.scales", tensors.BLOCKS, (1,))]


def _block_settings(head: Header, names: list[str]) -> dict[str, Any]:
    types = {architectures.model_name(head, name).removesuffix(".weight"): head.tensors[name].type for name in names}
    blocks = {layer: tensors.block_type(type) for layer, type in types.items() if type not in weights.PLAIN}
    return block_packing.settings(blocks)


def _data(head: Header, names: list[str], in_blocks: bool) -> Iterator[np.ndarray]:
    """The arrays of all tensors, in the order of their parts: of each tensor the first part in pieces, then the
    others."""
    for name in names:
        if in_blocks and head.tensors[name].type not in weights.PLAIN:
            yield from (chunk.arrays[0] for chunk in tensors.block_chunks(head, name))
            yield np.zeros(1, np.uint8)
            continue
        other_parts: list[tuple[np.ndarray, ...]] = []
        for chunk in tensors.chunks(head, name, _pack):
            first, *others = chunk.arrays
            other_parts.append(tuple(others))
            yield first
        for part in zip(*other_parts, strict=True):
            yield np.concatenate(part)


def _pack(rows: np.ndarray, type: str) -> Packed:
    if type in packing.KINDS:
        return packing.pack(rows, type)
    values = dequantize(rows, GGMLQuantizationType[type])
    with np.errstate(over="ignore"):
        halves = mx.array(values.astype(np.float16))  # so that scales and biases are float16 as well
    packed = mx.quantize(halves, group_size=GROUP, bits=_nearest(type))
    words, scales, biases = (np.array(part) for part in packed)
    return Packed(words, scales, biases)


def _bits(tensor: Tensor) -> int | None:
    if tensor.type in weights.PLAIN:
        return None
    kind = packing.KINDS.get(tensor.type)
    return kind.bits if kind else _nearest(tensor.type)


def _nearest(type: str) -> int:
    """The width for a type that is quantised again: the smallest with at least as many bits per weight."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[type]]
    return next(width for width in WIDTHS if width >= 8 * size / block or width == WIDTHS[-1])


def _check_types(head: Header, names: list[str], in_blocks: bool) -> None:
    """Raises UnreadableGGUF where a type cannot be read, before anything is written."""
    for name in names:
        tensor = head.tensors[name]
        if in_blocks and tensors.block_type(tensor.type) not in (*weights.PLAIN, *block_packing.CODECS):
            raise UnreadableGGUF(f"{head.path}: tensor {name} is {tensor.type}, which MLX has no blocks of.")
        if (
            tensor.type not in weights.PLAIN
            and tensor.type not in packing.KINDS
            and not weights.is_readable(tensor.type)
        ):
            raise UnreadableGGUF(f"{head.path}: tensor {name} is {tensor.type}, which cannot be converted.")


def _quantization(head: Header, names: list[str]) -> dict[str, Any]:
    """The entries of config.json, as mlx-lm writes them: a default, and every layer by name."""
    layers: dict[str, dict[str, int]] = {}
    for name in names:
        bits = _bits(head.tensors[name])
        if bits is not None:
            layer = architectures.model_name(head, name).removesuffix(".weight")
            layers[layer] = {"group_size": GROUP, "bits": bits}
    if not layers:
        return {}
    most_common = Counter(layer["bits"] for layer in layers.values()).most_common(1)[0][0]
    settings = {"group_size": GROUP, "bits": most_common, "mode": "affine", **layers}
    return dict.fromkeys(mlx_packing.CONFIG_KEYS, settings)


def _notices(head: Header, names: list[str]) -> list[str]:
    counts = Counter(head.tensors[name].type for name in names)
    notices = []
    for type, count in counts.items():
        if type in packing.ROUNDED:
            notices.append(f"{count} tensors of type {type} keep their integers; their scales are rounded to float16.")
        elif type not in weights.PLAIN and type not in packing.EXACT:
            bits = _nearest(type)
            notices.append(f"{count} tensors of type {type} are quantised again, to {bits} bits in groups of {GROUP}.")
    return notices + folder.notices(head)
