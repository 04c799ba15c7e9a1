"""Small random LoRAs of GGUF models, written with gguf-py."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from nitro.gguf import header

LAYERS = ("attn_q", "attn_v", "ffn_down")


def write_adapter(path: Path, model: Path, seed: int = 0, *, rank: int = 4, size: float = 0.02) -> Path:
    """An adapter of all blocks of a model. `size`: how large its numbers are; 0.02 moves SmolLM2's logits by eight."""
    head = header.read(model, full=False)
    random = np.random.default_rng(seed)
    writer = begin(path, head.architecture)
    for name, tensor in head.tensors.items():
        part = name.split(".")
        if part[0] == "blk" and part[2] in LAYERS:
            rows, columns = tensor.shape
            writer.add_tensor(f"{name}.lora_a", random.normal(0, 1 / rank, (rank, columns)).astype(np.float32))
            writer.add_tensor(f"{name}.lora_b", random.normal(0, size, (rows, rank)).astype(np.float32))
    return end(writer, path)


def begin(path: Path, architecture: str, *, kind: str = "adapter", alpha: float | None = 8.0) -> GGUFWriter:
    """The beginning of an adapter's file."""
    writer = GGUFWriter(path, architecture)
    writer.add_string("general.type", kind)
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    return writer


def end(writer: GGUFWriter, path: Path) -> Path:
    """The rest of it."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
