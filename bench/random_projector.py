"""A projector of random weights, as large as SigLIP's base model (12 layers, 768 wide), at 224 pixels: 196 rows.

What it makes of a picture means nothing, and takes as long as if it did.
"""

from pathlib import Path

import gguf
import numpy as np

WIDTH, FEED_FORWARD, LAYERS, HEADS = 768, 3072, 12, 12
PATCH, SIZE = 16, 224  # pixels


def write(path: Path, width: int) -> Path:
    """`width`: of the model that it is for."""
    random = np.random.default_rng(0)

    def matrix(*shape: int) -> np.ndarray:
        scale = float(np.prod(shape[1:])) ** -0.5
        return (random.standard_normal(shape) * scale).astype(np.float16)

    def ones(count: int) -> np.ndarray:
        return np.ones(count, np.float32)

    def zeros(count: int) -> np.ndarray:
        return np.zeros(count, np.float32)

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    numbers = {"image_size": SIZE, "patch_size": PATCH, "embedding_length": WIDTH, "block_count": LAYERS}
    numbers |= {"feed_forward_length": FEED_FORWARD, "projection_dim": width, "attention.head_count": HEADS}
    for key, number in numbers.items():
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    writer.add_tensor("v.patch_embd.weight", matrix(WIDTH, 3, PATCH, PATCH))
    writer.add_tensor("v.position_embd.weight", matrix((SIZE // PATCH) ** 2, WIDTH).astype(np.float32))
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (WIDTH, WIDTH))
    shapes |= {"ffn_up": (FEED_FORWARD, WIDTH), "ffn_down": (WIDTH, FEED_FORWARD)}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            writer.add_tensor(f"v.blk.{layer}.{name}.weight", matrix(*shape))
            writer.add_tensor(f"v.blk.{layer}.{name}.bias", zeros(shape[0]))
        for name in ("ln1", "ln2"):
            writer.add_tensor(f"v.blk.{layer}.{name}.weight", ones(WIDTH))
            writer.add_tensor(f"v.blk.{layer}.{name}.bias", zeros(WIDTH))
    for name, shape in (("mm.0", (width, WIDTH)), ("mm.2", (width, width))):
        writer.add_tensor(f"{name}.weight", matrix(*shape))
        writer.add_tensor(f"{name}.bias", zeros(shape[0]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
