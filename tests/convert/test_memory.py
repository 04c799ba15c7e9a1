"""A model of 1 GB is converted with memory for its largest tensor, and opened with memory for itself."""

import os
import shutil
import subprocess
import sys
from math import prod
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from tiny_models import TEMPLATE, vocabulary

from nitro.convert import output
from nitro.engines.backends.mlx import block_layers

pytestmark = pytest.mark.convert

WIDTH, FEED_FORWARD, HEADS, LAYERS = 2048, 8192, 16, 16
LARGEST = WIDTH * FEED_FORWARD * 4  # bytes, as float32
GB = 10**9


def write_large(path: Path, matrices: Type = Type.Q8_0) -> Path:
    """A llama whose weights are zeros: a hole in the file, which takes no time to write."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary()["tokens"])
    writer.add_token_types(vocabulary()["token_type"])
    writer.add_token_merges(vocabulary()["merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    size = 0
    for name, shape in shapes().items():
        type = matrices if len(shape) == 2 else Type.F32
        block, bytes_of_block = gguf.GGML_QUANT_SIZES[type]
        taken = prod(shape) // block * bytes_of_block
        writer.add_tensor_info(name, shape, np.dtype(np.float32), taken, raw_dtype=type)
        size += gguf.GGUFWriter.ggml_pad(taken, writer.data_alignment)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    start = path.stat().st_size
    os.truncate(path, start + -start % writer.data_alignment + size)
    return path


def shapes() -> dict[str, tuple[int, ...]]:
    layer = {
        **dict.fromkeys(("attn_norm", "ffn_norm"), (WIDTH,)),
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (FEED_FORWARD, WIDTH)),
        "ffn_down": (WIDTH, FEED_FORWARD),
    }
    vocabulary_size = len(vocabulary()["tokens"])
    return {
        "token_embd.weight": (vocabulary_size, WIDTH),
        "output_norm.weight": (WIDTH,),
        **{f"blk.{number}.{name}.weight": shape for number in range(LAYERS) for name, shape in layer.items()},
    }


# the process's high-water mark once all is imported, and what the call adds to it; pages of mapped files count
MEASURE = """
import sys
from pathlib import Path
{imported}

def mark():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = mark()
kept = {call}
print(mark() - before)
"""


def added(imported: str, call: str, *paths: Path) -> int:
    """Bytes that the call adds. `call`: its paths are arguments of the process."""
    script = MEASURE.format(imported=imported, call=call)
    command = [sys.executable, "-c", script, *map(str, paths)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def converted(module: str, source: Path, target: Path, options: str = "") -> int:
    """What the conversion adds."""
    target.mkdir()
    call = f"{module}.convert(Path(sys.argv[1]), Path(sys.argv[2]){options})"
    return added(f"from nitro.convert import {module}", call, source, target)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_stays_near_the_largest_tensor(tmp_path: Path) -> None:
    source, mlx, hf = write_large(tmp_path / "large.gguf"), tmp_path / "mlx", tmp_path / "hf"
    try:
        assert output.size(source) > GB
        peaks = [converted("gguf_to_mlx", source, mlx), converted("mlx_to_hf", mlx, hf, ", dtype='float16'")]
        assert output.size(mlx) > GB and output.size(hf) > 1.8 * GB
    finally:
        for made in (mlx, hf):
            shutil.rmtree(made, ignore_errors=True)
    assert max(peaks) < 2 * LARGEST < GB / 5


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("type", [Type.Q8_0, Type.Q5_K])
def test_opening_a_gguf_on_mlx_takes_no_more_than_the_file_and_a_tenth(tmp_path: Path, type: Type) -> None:
    """In MLX's own layout, and in the file's blocks. MLX's layout has a scale and a bias for every 32 weights."""
    if type == Type.Q5_K and not block_layers.is_installed():
        pytest.skip("mlx-kquant is not installed")
    source = write_large(tmp_path / "large.gguf", type)
    size = output.size(source) * (36 / 34 if type == Type.Q8_0 else 1)
    imported = "from nitro.engines.backends.mlx.gguf_loader import open_gguf"
    assert GB / 2 < size * 0.9 < added(imported, "open_gguf(Path(sys.argv[1]))", source) < 1.1 * size
