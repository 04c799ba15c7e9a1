"""The table of a family of models: the names of its tensors and settings in a GGUF, and in the original model.

The original's names and configuration are those of Hugging Face transformers, which mlx-lm shares.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nitro.gguf.header import Header, UnreadableGGUF

Value = Callable[[Header], Any]  # computes the value of one key of config.json from a header
Rows = Callable[[Header, np.ndarray], np.ndarray]  # the file's rows, [rows, anything], in the order of the model
Values = Callable[[np.ndarray], np.ndarray]  # float32 values of the file → those of the model, one by one
Shape = Callable[[Header, tuple[int, ...]], tuple[int, ...]]  # the shape in the file → the one in the model
Layers = Callable[[Header], Iterable[int]]  # the numbers of some layers


@dataclass(frozen=True, slots=True)
class ArchitectureFamily:
    """One family. N in the name of a tensor stands for the number of its layer."""

    model_type: str
    model_class: str
    names: dict[str, str]  # GGUF tensor names → the original ones
    config: dict[str, Value]
    optional: tuple[str, ...] = ("output.weight",)  # tensors that may be missing
    # How the file's tensors become the model's. Rows are moved as they are stored, and only float32 is computed with:
    # packed weights stay packed. A shape may gain axes, but a matrix keeps its last one.
    rows: dict[str, Rows] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    # of tensors that the model has in parts: the parts' names, keys of the tables above, whose `rows` picks each's
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[str, Layers] = field(default_factory=dict)  # of tensors that only some layers have
    # tensors whose numbers or columns are others than the original's, in the file and in mlx-lm's model of it: what was
    # trained on top of the original, as a LoRA, does not fit them
    unlike_original: tuple[str, ...] = ()
    supported: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # by key: the supported values; (): all
    notice: Value = lambda header: None  # a sentence for the user where mlx-lm's model differs slightly


# Tables of names


def weights(names: dict[str, str]) -> dict[str, str]:
    """The table for weights, from names without ".weight"."""
    return {f"{name}.weight": f"{goal}.weight" for name, goal in names.items()}


def biases(names: dict[str, str]) -> dict[str, str]:
    """The table for biases, from names without ".bias"."""
    return {f"{name}.bias": f"{goal}.bias" for name, goal in names.items()}


# Changes


def minus_one(values: np.ndarray) -> np.ndarray:
    """The values of a norm that multiplies by 1 + weight; the file stores the sum."""
    return np.asarray(values - np.float32(1))


def log_of_minus(values: np.ndarray) -> np.ndarray:
    """What the file stores -exp of: the decay of a state."""
    return np.asarray(np.log(-values))


def half_split_of(heads: Callable[[Header], int]) -> Rows:
    """Rows whose rotary pairs lie side by side, 0,1 · 2,3 · …, so that a head's first half pairs with its second.
    `heads`: how many there are."""

    def change(header: Header, rows: np.ndarray) -> np.ndarray:
        count, *rest = rows.shape
        number = heads(header)
        return rows.reshape(number, count // number // 2, 2, *rest).swapaxes(1, 2).reshape(count, *rest)

    return change


def last_axis_of_one(header: Header, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a convolution whose channels are separate: [channels, width] → [channels, width, 1]."""
    return (*shape, 1)


def one_row(header: Header, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A matrix of one row, which the file may have as a vector."""
    return (1, shape[-1])


def vector(header: Header, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A vector of what the file may have as one row, [1, n]."""
    return (shape[-1],)


# Layers


def layer_count(header: Header) -> int:
    """The number of layers, without those that only predict drafts, which come last and are not used."""
    return int(header.need("{arch}.block_count") - header.get("{arch}.nextn_predict_layers", 0))


def dense_first(header: Header) -> range:
    """The first layers, whose feed-forward has no experts."""
    return range(header.get("{arch}.leading_dense_block_count", 0))


def with_experts(header: Header) -> range:
    """The layers after those that are dense."""
    return range(header.get("{arch}.leading_dense_block_count", 0), layer_count(header))


def windowed(header: Header, default: int) -> list[bool]:
    """For every layer: does it attend to a window? `default`: one layer in so many attends to everything, where the
    file does not say."""
    pattern: Any = header.get("{arch}.attention.sliding_window_pattern", default)
    if isinstance(pattern, list):
        return [bool(flag) for flag in pattern]
    return [pattern > 0 and (layer + 1) % pattern != 0 for layer in range(layer_count(header))]


def layer_types(default: int) -> Value:
    """The kind of attention of every layer. `default`: see `windowed`."""
    return lambda header: ["sliding_attention" if flag else "full_attention" for flag in windowed(header, default)]


# Values of a configuration


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
    """The number of attention heads. Raises UnreadableGGUF where it is missing, or layers with attention differ."""
    return int(_one_number(header, "{arch}.attention.head_count"))


def kv_head_count(header: Header) -> int:
    """The number of KV heads; without it, all heads have their own. Raises UnreadableGGUF where layers with
    attention differ."""
    if header.get("{arch}.attention.head_count_kv") is None:
        return head_count(header)
    return int(_one_number(header, "{arch}.attention.head_count_kv"))


def head_size(header: Header) -> int:
    """The size of a head's keys; without it, width / heads; 0 without heads. Raises UnreadableGGUF."""
    size = header.get("{arch}.attention.key_length")
    count = head_count(header) if size is None else 0
    return int((header.need("{arch}.embedding_length") // count if count else 0) if size is None else size)


def rotated_share(header: Header) -> float:
    """The share of a head's dimensions that rotary embedding rotates."""
    return float(header.get("{arch}.rope.dimension_count", head_size(header)) / head_size(header))


def vocabulary(header: Header) -> int:
    """The number of rows of the embedding."""
    return header.tensors["token_embd.weight"].shape[0]


def _one_number(header: Header, key: str) -> Any:
    """A number that the metadata may also list per layer: 0 where it has no attention, and otherwise the same."""
    value = header.need(key)
    if isinstance(value, list) and len(set(value) - {0}) == 1:
        return max(value)
    if isinstance(value, list):
        raise UnreadableGGUF(
            f"{header.path}: {key.replace('{arch}', header.architecture)} differs per layer, which is not supported."
        )
    return value
