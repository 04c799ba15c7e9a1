"""LoRAs with random numbers, of rank 16 on all seven products of each block, as fine-tuning tools make them by default.

Their numbers are small: the model's answers stay texts.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from nitro.gguf import header

RANK = 16
PRODUCTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
SIZE = 0.002


def write(path: Path, model: Path, seed: int) -> Path:
    """A GGUF for a GGUF."""
    head = header.read(model, full=False)
    random = np.random.default_rng(seed)
    writer = GGUFWriter(path, head.architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", RANK)
    for name, tensor in head.tensors.items():
        part = name.split(".")
        if part[0] == "blk" and part[2] in PRODUCTS:
            rows, columns = tensor.shape
            writer.add_tensor(f"{name}.lora_a", random.normal(0, 1 / RANK, (RANK, columns)).astype(np.float32))
            writer.add_tensor(f"{name}.lora_b", random.normal(0, SIZE, (rows, RANK)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
