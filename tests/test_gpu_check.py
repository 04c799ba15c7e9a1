"""The GPU check's own script, run on the CPU: its parts work, and it refuses a machine without a GPU."""

import subprocess
import sys
from pathlib import Path

from bench import timed_llama
from nitro.gguf import header

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scripts.gpu_check", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_without_a_gpu_it_says_so():
    import llama_cpp  # noqa: F401

    done = run("--no-write", "--parts", "doctor")
    assert done.returncode == 2 and "no GPU" in done.stderr


def test_a_dry_run_writes_a_section(tmp_path: Path):
    import llama_cpp  # noqa: F401

    output = tmp_path / "results.md"
    done = run("--dry-run", "--parts", "placement,require-gpu,share", "--rounds", "1", "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    text = output.read_text()
    assert "## On a GPU" in text and "on the CPU. KV cache: CPU" in text and "ends with status 1" in text
    assert "| 2 clients |" in text


def test_the_rest_of_a_steps_time_is_neither_the_devices_nor_the_samplers():
    times = timed_llama.Times(steps=2, rows=2, device=0.5, sampling=0.25, total=1.0)
    assert times.between == 0.25


def test_a_random_model_has_its_shape_and_the_embedded_models_vocabulary(tmp_path: Path):
    from bench import random_gguf

    path = random_gguf.write(tmp_path / "random.gguf", random_gguf.SHAPES["tiny"])
    head = header.read(path)
    assert head.need("llama.block_count") == 2 and len(head.need("tokenizer.ggml.tokens")) == 49152
