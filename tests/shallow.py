"""A real model's first layers as a model of its own: its vocabulary, its kernels and its shapes, in less time.

For tests of what happens to tokens, slots and caches. What such a model says is text, but makes little sense.
"""

import struct
from pathlib import Path

from gguf import GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType

from nitro.gguf import header

COUNTS = 8, 24  # where the header counts the tensors, and where its metadata begins


def shallow(source: Path, target: Path, layers: int) -> Path:
    """Write `target`, a GGUF of the first `layers` of `source`, whose bytes are as they were."""
    head = header.read(source)
    dropped = tuple(f"blk.{layer}." for layer in range(layers, head.need("{arch}.block_count")))
    kept = {name: tensor for name, tensor in head.tensors.items() if not name.startswith(dropped)}
    data = source.read_bytes()
    names = min(data.index(_text(name), COUNTS[1]) for name in head.tensors)
    metadata = bytearray(data[:names])
    metadata[COUNTS[0] : COUNTS[0] + 8] = struct.pack("<Q", len(kept))
    key = _text(f"{head.architecture}.block_count")
    value = metadata.index(key) + len(key) + 4  # behind its type
    metadata[value : value + 4] = struct.pack("<I", layers)
    infos, weights = bytearray(), bytearray()
    for name, tensor in kept.items():
        type, shape = GGMLQuantizationType[tensor.type], tensor.shape[::-1]
        infos += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type, len(weights))
        weights += _aligned(data[tensor.offset : tensor.offset + tensor.size])
    target.write_bytes(_aligned(metadata + infos) + weights)
    return target


def _text(text: str) -> bytes:
    """As GGUF has it."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % GGUF_DEFAULT_ALIGNMENT)
