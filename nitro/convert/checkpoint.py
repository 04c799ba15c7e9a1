"""A model on disk, as far as its configuration and headers tell: its kind, its tensors, the type of its weights.

Kinds: "gguf" is a file, "hf" and "mlx" are folders with config.json and *.safetensors, which mlx-lm marks as its own.
Reads no weight.
"""

import json
import logging
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from nitro.checkpoints import mlx_packing
from nitro.errors import ConvertError, reason
from nitro.models import files

log = logging.getLogger("nitro.convert")

MOST_HEADER = 100_000_000  # bytes; the safetensors library's own limit
# llama_ftype (llama.h), by the names that llama-quantize has for them
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
class Weight:
    type: str  # "F32", "Q4_1", …
    shape: tuple[int, ...]  # rows first
    file: Path = field(default=Path(), compare=False)  # of a folder's, where its bytes are
    offset: int = field(default=0, compare=False)

    @property
    def count(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    kind: str
    config: dict[str, Any]  # config.json, or a GGUF's metadata
    weights: dict[str, Weight]  # by name; a quantised MLX weight's shape is that of its packed words

    @cached_property
    def architecture(self) -> str:
        return str(self.config.get("general.architecture" if self.kind == "gguf" else "model_type", ""))

    @cached_property
    def is_encoder(self) -> bool:
        """Is it there for embeddings, so that there are no logits?"""
        if self.kind == "gguf":
            return self.config.get(f"{self.architecture}.attention.causal") is False
        return self.architecture in ENCODERS

    @cached_property
    def quantization(self) -> dict[str, Any] | None:
        """config.json's own words: group_size and bits, or another library's method."""
        return mlx_packing.quantization(self.config)

    @cached_property
    def type(self) -> str:
        """What the weights are: "F32", "BF16", "Q4_K", "4bit". As the file says it, else what most of them are."""
        if self._bits:
            return f"{self._most(self._bits)}bit"
        if self.kind != "gguf" and self.quantization:
            return f"{self.quantization.get('bits', '?')}bit"
        if self.kind == "gguf" and (name := FILE_TYPES.get(self.config.get("general.file_type", -1))):
            return name
        matrices = {name: weight.type for name, weight in self.weights.items() if len(weight.shape) > 1}
        return str(self._most(matrices)) if matrices else "F32"

    @cached_property
    def parameters(self) -> int:
        parts = (".scales", ".biases") if self._bits else ()
        return sum(
            weight.count * 32 // self._bits.get(name, 32)
            for name, weight in self.weights.items()
            if not name.endswith(parts)
        )

    @cached_property
    def _bits(self) -> dict[str, int]:
        """Of an MLX folder's packed weights, one by one: a recipe mixes them."""
        quantization = self.quantization if self.kind == "mlx" else None
        found = {}
        for name, weight in self.weights.items():
            layer = name.removesuffix(".weight")
            scales = self.weights.get(f"{layer}.scales")
            if weight.type == "U32" and scales:
                group_size = mlx_packing.of_layer(quantization, layer).group_size
                found[name] = mlx_packing.bits(weight.shape[-1], scales.shape[-1], group_size)
        return found

    def _most(self, kinds: Mapping[str, Any]) -> Any:
        """The kind that most of the weights are of."""
        count: Counter[Any] = Counter()
        for name, kind in kinds.items():
            count[kind] += self.weights[name].count * 32 // self._bits.get(name, 32)
        return count.most_common(1)[0][0]


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """What damaged files make anything stumble over within is a ConvertError, too."""
    try:
        yield
    except ConvertError:
        raise
    except Exception as error:
        log.debug("%s is not understood", path, exc_info=error)
        raise ConvertError(f"{path} is damaged, or holds what is not understood: {reason(error)}") from None


def read(path: Path) -> Checkpoint:
    """Raises ConvertError with one sentence that names what is wrong."""
    try:
        if problem := files.objection(path):
            raise ConvertError(problem)
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return _gguf(path)
    except OSError as error:
        raise ConvertError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    raise ConvertError(f"{path}: no such file or folder.")


def text_files(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, empty where there is none."""
    file = folder / "tokenizer_config.json"
    return _json(file) if file.is_file() else {}


def _gguf(path: Path) -> Checkpoint:
    from nitro.gguf import header

    try:
        head = header.read_all(path)
    except header.UnreadableGGUF as error:
        raise ConvertError(str(error)) from None
    return Checkpoint(path, "gguf", head.metadata, {n: Weight(t.type, t.shape) for n, t in head.tensors.items()})


def _folder(path: Path) -> Checkpoint:
    if not (path / "config.json").is_file():
        raise ConvertError(f"{path} is a folder without config.json, so it holds no model.")
    config, mlx = _json(path / "config.json"), False
    if config.get("model_file") is not None:
        raise ConvertError(f"{path} needs Python code that it brings itself (model_file), and such is never run.")
    weights: dict[str, Weight] = {}
    for shard in _shards(path):
        found, about = _safetensors(shard)
        weights |= found
        mlx = mlx or about.get("format") == "mlx"
    if missing := sorted(set(_index(path)) - set(weights)):
        raise ConvertError(f"{path}: {INDEX} names the tensor {missing[0]}, which no shard holds; download it again.")
    own = isinstance(config.get("quantization"), dict) and "group_size" in config["quantization"]
    return Checkpoint(path, "mlx" if mlx or own else "hf", config, weights)


def _shards(folder: Path) -> list[Path]:
    names = _index(folder).values()
    if odd := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise ConvertError(f"{folder / INDEX} names {odd[0]!r}, which is no file beside it.")
    named = sorted({folder / name for name in names})
    for shard in named:
        if not shard.is_file():
            raise ConvertError(f"{folder} lacks {shard.name}, which {INDEX} names; download it again.")
    shards = named or sorted(folder.glob("*.safetensors"))
    for shard in shards:
        if (part := re.search(r"-of-(\d{5})\.safetensors$", shard.name)) and len(shards) != int(part[1]):
            raise ConvertError(f"{folder} holds {len(shards)} of {int(part[1])} shards; download the others.")
    if not shards:
        others = [*folder.glob("pytorch_model*.bin"), *folder.glob("*.pth")]
        why = f"; {others[0].name} is not read, since opening such a file runs code" if others else ""
        raise ConvertError(f"{folder} has no *.safetensors{why}.")
    return shards


def _index(folder: Path) -> dict[str, str]:
    file = folder / INDEX
    names = _json(file).get("weight_map") if file.is_file() else {}
    return names if isinstance(names, dict) else {}


def _safetensors(file: Path) -> tuple[dict[str, Weight], dict[str, str]]:
    """The tensors and the metadata in a shard's header, which must agree with its length."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MOST_HEADER, size - 8):
                raise ValueError("its header is longer than the file")
            head = json.loads(stream.read(length))
        about = head.pop("__metadata__", None) or {}
        weights = {
            name: Weight(entry["dtype"], tuple(entry["shape"]), file, 8 + length + entry["data_offsets"][0])
            for name, entry in head.items()
        }
        end = max((entry["data_offsets"][1] for entry in head.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ConvertError(f"{file} is no safetensors file, or a damaged one ({error}).") from None
    if 8 + length + end != size:
        raise ConvertError(f"{file} has {size} bytes and should have {8 + length + end}; download it again.")
    return weights, about


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConvertError(f"{file} is no JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ConvertError(f"{file} holds no JSON object.")
    return content
