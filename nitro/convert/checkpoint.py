"""A model on disk, as its configuration and headers describe it: its kind, its tensors, the type of its weights.

Kinds: "gguf" is a file; "hf" and "mlx" are folders with config.json and *.safetensors, and mlx-lm marks those it wrote.
No weight is read.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from nitro.checkpoints import block_packing, mlx_packing, safetensors_file
from nitro.checkpoints.mlx_packing import LayerPacking, PackedShape
from nitro.errors import ConvertError, reason
from nitro.models import files

log = logging.getLogger("nitro.convert")

# llama_ftype (llama.h), by the names that llama-quantize uses
FTYPES = {
    **{"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9},
    **{"Q2_K": 10, "Q2_K_S": 21, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15},
    **{"Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "IQ3_S": 26, "IQ3_M": 27, "IQ3_XS": 22},
    **{"IQ3_XXS": 23, "IQ2_M": 29, "IQ2_S": 28, "IQ2_XS": 20, "IQ2_XXS": 19, "IQ1_S": 24, "IQ1_M": 31},
    **{"TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38},
}
FILE_TYPES = {number: re.sub(r"(?<=_K)_[SML]$|_MOE$", "", name) for name, number in FTYPES.items()}
ENCODERS = ("bert", "camembert", "distilbert", "roberta", "xlm-roberta")  # by model_type; they predict no next token
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One tensor of a model, as its header describes it."""

    type: str  # "F32", "Q4_1", …
    shape: tuple[int, ...]  # rows first
    file: Path = field(default=Path(), compare=False)  # of a folder: where the bytes are
    offset: int = field(default=0, compare=False)  # bytes

    @property
    def count(self) -> int:
        """The number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk. `kind`: "gguf", "hf" or "mlx"."""

    path: Path
    kind: str
    config: dict[str, Any]  # config.json, or a GGUF's metadata
    weights: dict[str, StoredWeight]  # by name; the shape of a quantised MLX weight is that of its packed words

    @cached_property
    def architecture(self) -> str:
        """A GGUF's general.architecture, or the configuration's model_type; empty where there is none."""
        return str(self.config.get("general.architecture" if self.kind == "gguf" else "model_type", ""))

    @cached_property
    def is_encoder(self) -> bool:
        """Does the model make embeddings, and no logits?"""
        if self.kind == "gguf":
            return self.config.get(f"{self.architecture}.attention.causal") is False
        return self.architecture in ENCODERS

    @cached_property
    def quantization(self) -> dict[str, Any] | None:
        """What config.json says of quantisation: group_size and bits, or another library's method."""
        return mlx_packing.quantization(self.config)

    @cached_property
    def type(self) -> str:
        """The type of the weights: "F32", "BF16", "Q4_K", "4bit", "MXFP4". A GGUF may name it, otherwise it is the
        most common. Raises ConvertError where config.json contradicts the arrays."""
        packed = {name: packing.type for name, packing in self.packings.items()} | self.blocks
        if packed:
            return self._most_common(packed)
        if self.kind != "gguf" and self.quantization:
            return f"{self.quantization.get('bits', '?')}bit"
        file_type = FILE_TYPES.get(self.config.get("general.file_type", -1))
        if self.kind == "gguf" and file_type:
            return file_type
        matrices = {name: weight.type for name, weight in self.weights.items() if len(weight.shape) > 1}
        return self._most_common(matrices) if matrices else "F32"

    @cached_property
    def parameters(self) -> int:
        """The number of the model's weights; packed ones are counted one by one. Raises as `type`."""
        parts = (".scales", ".biases", ".global_scale") if self.packings or self.blocks else ()
        return sum(self._count(name) for name in self.weights if not name.endswith(parts))

    @cached_property
    def packings(self) -> dict[str, LayerPacking]:
        """How each packed weight of a folder is packed, by its name. Raises ConvertError where config.json contradicts
        the arrays, or a mode is not supported."""
        found = {}
        for name, weight in self.weights.items():
            layer = name.removesuffix(".weight")
            scales = self.weights.get(f"{layer}.scales")
            if name.endswith(".weight") and weight.type == "U32" and scales:
                shape = PackedShape(weight.shape[-1], scales.shape[-1], scales.type == "U8")
                try:
                    found[name] = mlx_packing.of_layer(self.quantization, layer, shape)
                except ValueError as error:
                    raise ConvertError(f"{self.path}: {error}.") from None
        return found

    @cached_property
    def blocks(self) -> dict[str, str]:
        """ggml's types of the weights of an MLX folder that are in its blocks, by their names. Raises ConvertError."""
        try:
            types = block_packing.types(self.config) if self.kind == "mlx" else {}
        except ValueError as error:
            raise ConvertError(f"{self.path}: {error}.") from None
        return {f"{layer}.weight": type for layer, type in types.items() if f"{layer}.weight" in self.weights}

    def _count(self, name: str) -> int:
        count = self.weights[name].count
        if name in self.blocks:
            weights, size = block_packing.sizes(self.blocks[name])
            return count // size * weights
        return mlx_packing.columns(count, self.packings[name].bits) if name in self.packings else count

    def _most_common(self, types: Mapping[str, str]) -> str:
        """The type that most of the weights have. `types`: by name of the tensor."""
        count: Counter[str] = Counter()
        for name, type in types.items():
            count[type] += self._count(name)
        return count.most_common(1)[0][0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns any exception in the block into a ConvertError that names the file, since damage can break anything."""
    try:
        yield
    except ConvertError:
        raise
    except Exception as error:
        log.debug("%s cannot be read", path, exc_info=error)
        raise ConvertError(f"{path} is damaged, or has contents that are not supported: {reason(error)}") from None


def read(path: Path) -> Checkpoint:
    """Read a model's configuration and headers. Raises ConvertError with one sentence that names what is wrong."""
    try:
        problem = files.problem_with(path)
        if problem:
            raise ConvertError(problem)
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return _gguf(path)
    except OSError as error:
        raise ConvertError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    raise ConvertError(f"{path}: no such file or folder.")


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """The contents of tokenizer_config.json; empty where there is none. Raises ConvertError."""
    file = folder / "tokenizer_config.json"
    return _json(file) if file.is_file() else {}


def _gguf(path: Path) -> Checkpoint:
    from nitro.gguf import header

    try:
        gguf_header = header.read_all(path)
    except header.UnreadableGGUF as error:
        raise ConvertError(str(error)) from None
    return Checkpoint(
        path, "gguf", gguf_header.metadata, {n: StoredWeight(t.type, t.shape) for n, t in gguf_header.tensors.items()}
    )


def _folder(path: Path) -> Checkpoint:
    if not (path / "config.json").is_file():
        raise ConvertError(f"{path} is a folder without config.json, so it is not a model.")
    config = _json(path / "config.json")
    written_by_mlx_lm = False
    if config.get("model_file") is not None:
        raise ConvertError(f"{path} needs its own Python code (model_file), which is never run.")
    weights: dict[str, StoredWeight] = {}
    for shard in _shards(path):
        found, metadata = _safetensors(shard)
        weights |= found
        written_by_mlx_lm = written_by_mlx_lm or metadata.get("format") == "mlx"
    missing = sorted(set(_index(path)) - set(weights))
    if missing:
        raise ConvertError(f"{path}: {INDEX} names the tensor {missing[0]}, which no shard holds; download it again.")
    has_group_size = isinstance(config.get("quantization"), dict) and "group_size" in config["quantization"]
    return Checkpoint(path, "mlx" if written_by_mlx_lm or has_group_size else "hf", config, weights)


def _shards(folder: Path) -> list[Path]:
    names = _index(folder).values()
    invalid = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if invalid:
        raise ConvertError(f"{folder / INDEX} names {invalid[0]!r}, which is not a file beside it.")
    named = sorted({folder / name for name in names})
    for shard in named:
        if not shard.is_file():
            raise ConvertError(f"{folder} lacks {shard.name}, which {INDEX} names; download it again.")
    shards = named or sorted(folder.glob("*.safetensors"))
    for shard in shards:
        part = re.search(r"-of-(\d{5})\.safetensors$", shard.name)
        if part and len(shards) != int(part[1]):
            raise ConvertError(f"{folder} holds {len(shards)} of {int(part[1])} shards; download the missing ones.")
    if not shards:
        pickles = [*folder.glob("pytorch_model*.bin"), *folder.glob("*.pth")]
        note = f"; {pickles[0].name} is not read, since opening such a file runs code" if pickles else ""
        raise ConvertError(f"{folder} has no *.safetensors{note}.")
    return shards


def _index(folder: Path) -> dict[str, str]:
    file = folder / INDEX
    names = _json(file).get("weight_map") if file.is_file() else {}
    return names if isinstance(names, dict) else {}


def _safetensors(file: Path) -> tuple[dict[str, StoredWeight], dict[str, str]]:
    """The tensors and the metadata in the header of a shard, whose length must be right."""
    try:
        found, metadata = safetensors_file.read(file)
    except ValueError as error:
        raise ConvertError(str(error)) from None
    return {n: StoredWeight(entry.type, entry.shape, file, entry.offset) for n, entry in found.items()}, metadata


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConvertError(f"{file} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ConvertError(f"{file} does not contain a JSON object.")
    return content
