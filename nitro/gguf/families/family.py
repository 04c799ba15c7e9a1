"""What a family of models is, as a table: how a GGUF names its tensors and settings, and how the model does.

The model's names and configuration are those of Hugging Face transformers, which mlx-lm shares.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nitro.gguf.header import Header, UnreadableGGUF

Value = Callable[[Header], Any]  # what a header says for one key of config.json


@dataclass(frozen=True, slots=True)
class Family:
    """N in a tensor's name stands for the layer's number."""

    model_type: str
    model_class: str
    names: dict[str, str]  # GGUF tensor names → the model's
    config: dict[str, Value]
    optional: tuple[str, ...] = ("output.weight",)  # tensors that may be missing
    interleaved: tuple[str, ...] = ()  # GGUF tensors whose rows pair up for rotary embedding as 0,1 · 2,3 · …
    plus_one: tuple[str, ...] = ()  # GGUF tensors that hold 1 + what the model's do
    refused: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # keys, and the values that are supported
    notice: Value = lambda header: None  # where mlx-lm's model is not quite the same: a sentence for the user


# Tables of names


def weights(names: dict[str, str]) -> dict[str, str]:
    return {f"{name}.weight": f"{goal}.weight" for name, goal in names.items()}


def biases(names: dict[str, str]) -> dict[str, str]:
    return {f"{name}.bias": f"{goal}.bias" for name, goal in names.items()}


# Values


def need(key: str) -> Value:
    return lambda header: header.need(f"{{arch}}.{key}")


def maybe(key: str, default: Any = None) -> Value:
    return lambda header: header.get(f"{{arch}}.{key}", default)


def constant(value: Any) -> Value:
    return lambda header: value


def has(tensor: str) -> Value:
    return lambda header: tensor in header.tensors


def lacks(tensor: str) -> Value:
    return lambda header: tensor not in header.tensors


def head_count(header: Header) -> int:
    return int(_one_number(header, "{arch}.attention.head_count"))


def kv_head_count(header: Header) -> int:
    if header.get("{arch}.attention.head_count_kv") is None:
        return head_count(header)
    return int(_one_number(header, "{arch}.attention.head_count_kv"))


def head_size(header: Header) -> int:
    size = header.get("{arch}.attention.key_length")
    return int(header.need("{arch}.embedding_length") // head_count(header) if size is None else size)


def vocabulary(header: Header) -> int:
    return header.tensors["token_embd.weight"].shape[0]


def _one_number(header: Header, key: str) -> Any:
    """A number that the metadata may also give per layer, which this version does not take."""
    value = header.need(key)
    if isinstance(value, list):
        raise UnreadableGGUF(
            f"{header.path}: {key.replace('{arch}', header.architecture)} differs per layer, which is not supported."
        )
    return value
