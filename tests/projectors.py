"""Projectors for tests, and pictures whose rows are known.

An oracle: a projector for any text model, each of whose image tokens is exactly a row of the model's own embedding, by
the colour of a patch. So a picture of 4 × 4 colours is the text of sixteen words, and what is computed of the one must
be what is computed of the other.

An ear, which is only good for seeing what becomes of sounds' files.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import stored_tensors
from gguf.quants import dequantize
from PIL import Image

from nitro.engines.media import Media

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
CORNERS = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1], [-1, -1, -1]], np.float32)
PATCH = 16  # pixels: 1/256 is exact in the float16 that ggml's convolution uses
SIDE = 4  # patches
WIDTH = 32  # of the encoder
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down")
MELS, POSITIONS = 128, 1500  # of Whisper's encoder: what it gets every 10 ms, and how often in its 30 seconds
STEEP = 32.0  # so far on GELU is the identity, or zero; a power of two, so that no bit is lost

Grid = Sequence[Sequence[str]]


def write_oracle(model: Path, path: Path, tokens: Sequence[int], scale: float = 1.0, pools: int = 1) -> Path:
    """A projector for the GGUF `model`. `tokens`: those whose rows red, green, blue, white and black are. `scale`: by
    which the rows are multiplied, as some models do with those of their tokens. `pools`: patches to a side of a token;
    with more than one it is Gemma 3's, whose rows all see each other, and which knows the first three colours only."""
    rows = _rows(model, tokens) * np.float32(scale)
    side = SIDE * pools
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp" if pools == 1 else "gemma3")
    writer.add_bool("clip.use_gelu", True)
    for key, number in {
        "image_size": PATCH * side,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": WIDTH,
        "block_count": 1,
        "projection_dim": rows.shape[1],
        "attention.head_count": 2,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.0] * 3)
    writer.add_array("clip.vision.image_std", [1.0] * 3)
    return _write(writer, path, {**_encoder(side), **(_projector(rows) if pools == 1 else _pooled(rows))})


def write_ear(path: Path, width: int) -> Path:
    """A projector that hears: Qwen2-Audio's, with random weights, for a model of this width."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_audio_encoder", True)
    writer.add_string("clip.projector_type", "qwen2a")
    for key, number in {
        "embedding_length": WIDTH,
        "feed_forward_length": WIDTH,
        "block_count": 1,
        "projection_dim": width,
        "attention.head_count": 2,
        "num_mel_bins": MELS,
    }.items():
        writer.add_uint32(f"clip.audio.{key}", number)
    writer.add_float32("clip.audio.attention.layer_norm_epsilon", 1e-5)
    shapes: dict[str, tuple[int, ...]] = {"a.position_embd.weight": (POSITIONS, WIDTH), "a.post_ln.weight": (WIDTH,)}
    shapes |= {f"a.blk.0.{name}.weight": (WIDTH, WIDTH) for name in MATRICES}
    shapes |= {f"a.blk.0.{name}.weight": (WIDTH,) for name in ("ln1", "ln2")}
    shapes |= {"a.conv1d.1.weight": (WIDTH, MELS, 3), "a.conv1d.2.weight": (WIDTH, WIDTH, 3)}
    shapes |= {"mm.a.fc.weight": (width, WIDTH)}
    arrays = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    without = ("a.position_embd.weight", "a.blk.0.attn_k.weight")
    biases = {
        name: (WIDTH, 1) if "conv" in name else shape[:1] for name, shape in shapes.items() if name not in without
    }
    arrays |= {name.replace("weight", "bias"): _zeros(*shape) for name, shape in biases.items()}
    for name in ("a.conv1d.1.weight", "a.conv1d.2.weight"):
        arrays[name] = arrays[name].astype(np.float16)
    return _write(writer, path, arrays)


def _write(writer: gguf.GGUFWriter, path: Path, arrays: dict[str, np.ndarray]) -> Path:
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def picture(grid: Grid, format: str = "PNG") -> bytes:
    """A file of a grid of colours, a patch each."""
    pixels = np.array([[COLOURS[colour] for colour in row] for row in grid], np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.repeat(PATCH, 0).repeat(PATCH, 1)).save(file, format)
    return file.getvalue()


def medium(grid: Grid, param: str = "image") -> Media:
    """It, as a request brings it."""
    return Media.of("image", picture(grid), param)


def grid_of(seed: int) -> list[list[str]]:
    """Some colours, others for each seed."""
    random = np.random.default_rng(seed)
    names = list(COLOURS)
    return [[names[i] for i in row] for row in random.integers(0, len(names), (SIDE, SIDE))]


def words(grid: Grid, tokens: Sequence[int]) -> list[int]:
    """The tokens that a picture stands for."""
    by_name = dict(zip(COLOURS, tokens, strict=True))
    return [by_name[colour] for row in grid for colour in row]


def _rows(model: Path, tokens: Sequence[int]) -> np.ndarray:
    """Rows of its embedding: float32 [tokens, width]."""
    name = "token_embd.weight"
    rows = stored_tensors.packed(model)[name][list(tokens)]
    return dequantize(rows, stored_tensors.types(model)[name]).astype(np.float32)


def _encoder(side: int) -> dict[str, np.ndarray]:
    """One that does nothing but say the mean colour of each patch, in its first three numbers."""
    patches = _zeros(WIDTH, 3, PATCH, PATCH)
    for colour in range(3):
        patches[colour, colour] = 1 / PATCH**2
    norms = {f"v.blk.0.{name}.weight": _zeros(WIDTH) + 1 for name in ("ln1", "ln2")}
    return {
        "v.patch_embd.weight": patches,
        "v.position_embd.weight": _zeros(side * side, WIDTH),
        **{f"v.blk.0.{name}.weight": _zeros(WIDTH, WIDTH) for name in MATRICES},
        **norms,
        **{name.replace("weight", "bias"): _zeros(WIDTH) for name in norms},
    }


def _projector(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Two layers of which the first tells the colours apart."""
    first, bias, second = _zeros(WIDTH, WIDTH), _zeros(WIDTH), _zeros(rows.shape[1], WIDTH)
    first[:5, :3] = STEEP * CORNERS
    bias[:5] = STEEP * np.array([-0.5, -0.5, -0.5, -2.5, 0.5])
    second[:, :5] = rows.T / (STEEP * 0.5)
    return {"mm.0.weight": first, "mm.0.bias": bias, "mm.2.weight": second, "mm.2.bias": _zeros(rows.shape[1])}


def _pooled(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The norm of a row with a single one is √WIDTH."""
    matrix = _zeros(WIDTH, rows.shape[1])
    matrix[:3] = rows[:3] / WIDTH**0.5
    return {"mm.input_projection.weight": matrix, "mm.soft_emb_norm.weight": _zeros(WIDTH) + 1}


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)
