"""Writes a large GGUF with random weights in seconds, to measure speed where no such model can be had.

It has the embedded model's tokenizer, and the shape of a common model. What it says means nothing; what it costs is
what a real model of that shape costs. A model of fewer layers, from the same seed, can be its draft: the less each
layer adds, the more often the two agree.
"""

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from nitro.gguf import header, tokenizer
from nitro.models import default_model

CONTEXT = 8192
BLOCK = 32  # weights of a Q4_0 block: a float16 scale, then 16 bytes (ggml-common.h, block_q4_0)
BLOCK_BYTES = 18
DEVIATION = 4.32  # of the numbers −7 … 7, each as likely: with −8 their mean, not 0, would come through all layers
ADDS_UP = ("attn_output", "ffn_down")  # what a layer adds


@dataclass(frozen=True)
class Shape:
    """Sizes of a llama-architecture model."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    layer_scale: float = 1.0  # how much each layer adds to the token's embedding, whose numbers have a deviation of 1
    certainty: float = 1.0  # the standard deviation of its logits


SHAPES = {
    "8b": Shape(layers=32, width=4096, feed_forward=14336, heads=32, kv_heads=8),
    "1b": Shape(layers=16, width=2048, feed_forward=8192, heads=32, kv_heads=8),
    "tiny": Shape(layers=2, width=256, feed_forward=512, heads=4, kv_heads=2),
}


def write(path: Path, shape: Shape, seed: int = 0) -> Path:
    """Write a Q4_0 model of this shape. Matrices of one size have the same random values, which takes no time to make
    and changes nothing of their cost."""
    source = header.read(default_model.path())
    tokens = source.need("tokenizer.ggml.tokens")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(source.need("tokenizer.ggml.token_type"))
    writer.add_token_merges(source.need("tokenizer.ggml.merges"))
    (end, *_) = sorted(tokenizer.ends(source))
    writer.add_eos_token_id(end)
    writer.add_chat_template(source.need("tokenizer.chat_template"))
    _add_tensors(writer, shape, len(tokens), seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tensors(writer: gguf.GGUFWriter, shape: Shape, vocabulary: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    made: dict[tuple[int, int, float], np.ndarray] = {}
    kv_width = shape.width // shape.heads * shape.kv_heads
    matrices = {
        "attn_q": (shape.width, shape.width),
        "attn_k": (kv_width, shape.width),
        "attn_v": (kv_width, shape.width),
        "attn_output": (shape.width, shape.width),
        "ffn_gate": (shape.feed_forward, shape.width),
        "ffn_up": (shape.feed_forward, shape.width),
        "ffn_down": (shape.width, shape.feed_forward),
    }

    def add(name: str, size: tuple[int, int], scale: float = 1.0) -> None:
        if (*size, scale) not in made:
            made[*size, scale] = _q4_0(generator, size, scale)
        writer.add_tensor(f"{name}.weight", made[*size, scale], raw_dtype=Type.Q4_0)

    def add_norm(name: str, scale: float = 1.0) -> None:
        writer.add_tensor(f"{name}.weight", np.full(shape.width, scale, np.float32))

    add("token_embd", (vocabulary, shape.width), np.sqrt(shape.width))
    add("output", (vocabulary, shape.width))
    add_norm("output_norm", shape.certainty)
    for layer in range(shape.layers):
        add_norm(f"blk.{layer}.attn_norm")
        add_norm(f"blk.{layer}.ffn_norm")
        for name, size in matrices.items():
            add(f"blk.{layer}.{name}", size, shape.layer_scale if name in ADDS_UP else 1.0)


def _q4_0(generator: np.random.Generator, size: tuple[int, int], scale: float) -> np.ndarray:
    """Random Q4_0 blocks: uint8 [rows, columns / 32 × 18]. A product has `scale` times the size of its input."""
    rows, columns = size
    packed = generator.integers(1, 16, (2, rows, columns // BLOCK, BLOCK_BYTES), dtype=np.uint8)
    blocks = packed[0] | packed[1] << 4  # 8 stands for 0
    block_scale = np.float16(scale / (DEVIATION * np.sqrt(columns)))
    blocks[:, :, :2] = np.frombuffer(block_scale.tobytes(), np.uint8)
    return blocks.reshape(rows, -1)
