"""GGUF files with one fault each, of the kinds that a wrong conversion makes. Nothing but the fault differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import stored_tensors
from gguf import GGUFReader

from nitro.gguf import header
from nitro.gguf.header import Header

BLOCK = 1  # the layer
RARE = (40012, 40026)  # tokens that the corpus does not touch


def doctor(source: Path, target: Path, fault: str) -> Path:
    shutil.copyfile(source, target)
    if fault in FAULTS_OF_WEIGHTS:
        FAULTS_OF_WEIGHTS[fault](header.read(target), stored_tensors.packed(target, "r+"))
    else:
        FAULTS[fault](GGUFReader(target, "r+"))
    return target


def _tokenizer(model: GGUFReader) -> None:
    """Two tokens change places."""
    field = model.fields["tokenizer.ggml.tokens"]
    texts = {bytes(field.parts[part]).decode(): field.parts[part] for part in field.data}
    one, other = texts["Ġthe"], texts["Ġand"]
    one[:], other[:] = other.copy(), one.copy()


def _rare_tokens(model: GGUFReader) -> None:
    """Two that few texts have change places."""
    field = model.fields["tokenizer.ggml.tokens"]
    one, other = (field.parts[field.data[id]] for id in RARE)
    assert len(one) == len(other)
    one[:], other[:] = other.copy(), one.copy()


def _heads(head: Header, weights: dict[str, np.ndarray]) -> None:
    """The rows of q and k in the order that the original has, not the file's."""
    for name, key in {"attn_q": "head_count", "attn_k": "head_count_kv"}.items():
        count = head.need(f"llama.attention.{key}")
        for rows in (rows for tensor, rows in weights.items() if tensor.endswith(f"{name}.weight")):
            shape = rows.shape
            rows[:] = rows.reshape(count, shape[0] // count // 2, 2, -1).swapaxes(1, 2).reshape(shape).copy()


def _tensor(head: Header, weights: dict[str, np.ndarray]) -> None:
    """The gate and the up projection of one layer change places."""
    one, other = (weights[f"blk.{BLOCK}.{name}.weight"] for name in ("ffn_gate", "ffn_up"))
    one[:], other[:] = other.copy(), one.copy()


def _rows(head: Header, weights: dict[str, np.ndarray]) -> None:
    """Two neighbouring rows of every layer's feed-forward, all its experts and its Mamba change places."""
    for name, rows in weights.items():
        if ("ffn_up" in name or "ssm_in" in name) and rows.ndim > 1:
            rows[..., [0, 1], :] = rows[..., [1, 0], :]


def _rope(model: GGUFReader) -> None:
    field = model.fields["llama.rope.freq_base"]
    value = field.parts[field.data[0]]
    value[:] = np.float32(10000 if value[0] > 10000 else 100000)


def _template(model: GGUFReader) -> None:
    """An older one, which names another role."""
    field = model.fields["tokenizer.chat_template"]
    text = field.parts[field.data[0]]
    old = bytes(text).replace(b"assistant", b"Assistant")
    assert old != bytes(text)
    text[:] = np.frombuffer(old, np.uint8)


FAULTS: dict[str, Callable[[GGUFReader], None]] = {
    "tokenizer": _tokenizer,
    "rare tokens": _rare_tokens,
    "rope base": _rope,
    "stale template": _template,
}
FAULTS_OF_WEIGHTS: dict[str, Callable[[Header, dict[str, np.ndarray]], None]] = {
    "permuted heads": _heads,
    "swapped tensor": _tensor,
    "two rows": _rows,
}
