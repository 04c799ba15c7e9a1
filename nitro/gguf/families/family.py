"""The table of a family of models: the names of its tensors and settings in a GGUF, and in the original model.

The original's names and configuration are those of Hugging Face transformers, which mlx-lm shares.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nitro.gguf.header import Header, UnreadableGGUF

Value = Callable[[Header], Any]  # computes the value of one key of config.json from a header


@dataclass(frozen=True, slots=True)
class ArchitectureFamily:
    """One family. N in the name of a tensor stands for the number of its layer."""

    model_type: str
    model_class: str
    names: dict[str, str]  # GGUF tensor names → the original ones
    config: dict[str, Value]
    optional: tuple[str, ...] = ("output.weight",)  # tensors that may be missing
    interleaved: tuple[str, ...] = ()  # GGUF tensors whose rows pair up for rotary embedding as 0,1 · 2,3 · …
    plus_one: tuple[str, ...] = ()  # GGUF tensors that store 1 + the original values
    supported: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # by key: the supported values; (): all
    notice: Value = lambda header: None  # a sentence for the user where mlx-lm's model differs slightly


# Tables of names


def weights(names: dict[str, str]) -> dict[str, str]:
    """The table for weights, from names without ".weight"."""
    return {f"{name}.weight": f"{goal}.weight" for name, goal in names.items()}


def biases(names: dict[str, str]) -> dict[str, str]:
    """The table for biases, from names without ".bias"."""
    return {f"{name}.bias": f"{goal}.bias" for name, goal in names.items()}


# Values


def need(key: str) -> Value:
    """The metadata's value, which must be there. `key`: after the architecture's name."""
    return lambda header: header.need(f"{{arch}}.{key}")


def maybe(key: str, default: Any = None) -> Value:
    """The metadata's value, or the default."""
    return lambda header: header.get(f"{{arch}}.{key}", default)


def constant(value: Any) -> Value:
    """The same value for every model of the family."""
    return lambda header: value


def has(tensor: str) -> Value:
    """Whether the file has this tensor."""
    return lambda header: tensor in header.tensors


def lacks(tensor: str) -> Value:
    """Whether the file does not have this tensor."""
    return lambda header: tensor not in header.tensors


def head_count(header: Header) -> int:
    """The number of attention heads. Raises UnreadableGGUF where it is missing or differs per layer."""
    return int(_one_number(header, "{arch}.attention.head_count"))


def kv_head_count(header: Header) -> int:
    """The number of KV heads; without it, all heads have their own. Raises UnreadableGGUF where it differs per
    layer."""
    if header.get("{arch}.attention.head_count_kv") is None:
        return head_count(header)
    return int(_one_number(header, "{arch}.attention.head_count_kv"))


def head_size(header: Header) -> int:
    """The size of a head's keys; without it, width / heads. Raises UnreadableGGUF."""
    size = header.get("{arch}.attention.key_length")
    return int(header.need("{arch}.embedding_length") // head_count(header) if size is None else size)


def vocabulary(header: Header) -> int:
    """The number of rows of the embedding."""
    return header.tensors["token_embd.weight"].shape[0]


def _one_number(header: Header, key: str) -> Any:
    """A number that the metadata may also list per layer, which is not supported."""
    value = header.need(key)
    if isinstance(value, list):
        raise UnreadableGGUF(
            f"{header.path}: {key.replace('{arch}', header.architecture)} differs per layer, which is not supported."
        )
    return value
