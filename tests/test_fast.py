"""`pytest --fast`, in a process of its own: what needs an engine or a server is skipped, and nothing fails for it."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
NEEDY = (
    "test_mlx_layout.py",  # the file imports MLX
    "test_start.py::test_a_truncated_file",  # a process that the test starts imports an engine's library
    "test_front.py::test_a_key",  # the test starts a server
)


def test_what_needs_an_engine_or_a_server_is_skipped() -> None:
    pytest = [sys.executable, "-m", "pytest", "--fast", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run([*pytest, *NEEDY], cwd=TESTS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    reasons = sorted(line.rpartition(": ")[2] for line in done.stdout.splitlines() if line.startswith("SKIPPED"))
    assert reasons == ["needs a server", "needs llama_cpp", "needs mlx", "needs mlx"]
    assert " passed" not in done.stdout and " failed" not in done.stdout
