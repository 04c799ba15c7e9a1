"""The import rules: who may know whom, and what the server process never loads."""

import subprocess
import sys
from pathlib import Path

from running import RunningServer, sdk, server_process

ROOT = Path(__file__).parents[1]
ENGINES = ("gguf", "llama_cpp", "llguidance", "mlx", "mlx_lm", "numpy", "tokenizers", "transformers", "torch")


def test_import_rules() -> None:
    """The contracts in pyproject.toml."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


def test_the_server_process_imports_no_engine() -> None:
    program = f"import sys, nitro.server; print([name for name in {ENGINES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_server_process_imports_no_library_of_the_hub() -> None:
    program = "import sys, nitro.cli.pull, nitro.server; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_engine_is_in_a_process_of_its_own(smollm_server: RunningServer) -> None:
    def mapped(pid: int) -> str:
        return Path(f"/proc/{pid}/maps").read_text()

    assert "libllama" in mapped(smollm_server.engine.pid)
    assert "SmolLM2" in mapped(smollm_server.engine.pid), "the weights are memory-mapped"
    with server_process("--ctx", "256", "--parallel", "1") as server:
        sdk(server.wait_ready()).chat.completions.create(
            model="", messages=[{"role": "user", "content": "Hello"}], max_tokens=2
        )
        assert "libllama" not in mapped(server.process.pid)


def test_help_needs_neither_server_nor_engine() -> None:
    names = (*ENGINES, "litestar", "uvicorn", "jinja2")
    program = f"import sys, nitro.cli.main; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
