"""GGUF files with one fault each, of the kinds that a wrong conversion makes. Nothing but the fault differs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFReader

BLOCK = 1  # the layer
RARE = (40012, 40026)  # tokens that the corpus does not touch


def doctor(source: Path, target: Path, fault: str) -> Path:
    shutil.copyfile(source, target)
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


def _heads(model: GGUFReader) -> None:
    """The rows of q and k in the order that the original has, not the file's."""
    heads = {
        "attn_q": model.fields["llama.attention.head_count"],
        "attn_k": model.fields["llama.attention.head_count_kv"],
    }
    for tensor in model.tensors:
        for name, field in heads.items():
            if tensor.name.endswith(f"{name}.weight"):
                count, rows = int(field.parts[field.data[0]][0]), tensor.data
                shape = rows.shape
                rows[:] = rows.reshape(count, shape[0] // count // 2, 2, -1).swapaxes(1, 2).reshape(shape).copy()


def _tensor(model: GGUFReader) -> None:
    """The gate and the up projection of one layer change places."""
    found = {tensor.name: tensor.data for tensor in model.tensors}
    one, other = (found[f"blk.{BLOCK}.{name}.weight"] for name in ("ffn_gate", "ffn_up"))
    one[:], other[:] = other.copy(), one.copy()


def _rows(model: GGUFReader) -> None:
    """Two neighbouring rows of every layer's feed-forward, all its experts and its Mamba change places."""
    for tensor in model.tensors:
        if ("ffn_up" in tensor.name or "ssm_in" in tensor.name) and tensor.data.ndim > 1:
            tensor.data[..., [0, 1], :] = tensor.data[..., [1, 0], :]


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
    "permuted heads": _heads,
    "swapped tensor": _tensor,
    "two rows": _rows,
    "rope base": _rope,
    "stale template": _template,
}
