"""`nitro convert` as a whole process, killed at any moment; the next one is right."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from click.testing import CliRunner, Result
from running import wait_gone
from tiny_models import write_gguf

from nitro.cli.main import main

KILLS = 10


def nitro(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def started(source: Path, target: Path) -> subprocess.Popen:
    command = [sys.executable, "-P", "-m", "nitro", "convert", str(source), "--to", "mlx", "-o", str(target)]
    return subprocess.Popen([*command, "--positions", "64"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def children(process: subprocess.Popen) -> list[int]:
    """Handles of the workers that run just now."""
    try:
        pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [os.pidfd_open(int(pid)) for pid in pids]
    except ProcessLookupError:
        return []


def content(folder: Path) -> dict[str, bytes]:
    """All but what a proof measured; that it is there counts."""
    return {file.name: file.read_bytes() if "proof" not in file.name else b"" for file in folder.iterdir()}


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="workers are found by Linux's /proc")
def test_a_kill_at_any_moment_and_then_again(tmp_path: Path) -> None:
    """The moments are shares of the time that a conversion takes here. Each leaves nothing, or the whole; the workers
    go, too."""
    source, target = write_gguf(tmp_path / "tiny.gguf"), tmp_path / "made"
    began = monotonic()
    assert started(source, target).wait() == 0
    took = monotonic() - began
    original = content(target)
    assert "config.json" in original
    shutil.rmtree(target)
    workers = 0
    for share in sorted(random.Random(3).uniform(0.1, 1.0) for _ in range(KILLS)):
        process = started(source, target)
        try:
            process.wait(share * took)
        except subprocess.TimeoutExpired:
            handles = children(process)
            workers += len(handles)
            process.send_signal(signal.SIGKILL)
            process.wait()
            for handle in handles:
                wait_gone(handle)
        left = {path.name for path in tmp_path.iterdir()} - {"tiny.gguf"}
        assert all(name == "made" or name.startswith(".made.partial-") for name in left)
        if target.exists():
            assert content(target) == original
            shutil.rmtree(target)
        else:
            for command in (("verify", source, target), ("serve", target)):
                assert "no such file" in nitro(*command).stderr
    assert workers, "none of the kills fell into a worker's time"
    assert started(source, target).wait() == 0
    assert content(target) == original
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.gguf", "made"}, "what was left is gone"
