"""Reads a LoRA of any kind."""

from pathlib import Path

from nitro.checkpoints import adapter_kinds, gguf_adapter, mlx_adapter, peft_adapter
from nitro.checkpoints.adapters import Adapter
from nitro.gguf.header import Header


def read(path: Path, base: Header | None = None) -> Adapter:
    """The adapter, its layers by transformers' names. `base`: the header of its model, which a GGUF needs
    (adapter_base.Base.need_header). Raises AdapterError."""
    kind = adapter_kinds.kind(path)
    if kind == "gguf":
        assert base is not None, "a GGUF's tensors have the names of its model"
        return gguf_adapter.read(path, base)
    return mlx_adapter.read(path) if kind == "mlx" else peft_adapter.read(path)
