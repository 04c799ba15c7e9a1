"""One engine process: how its end is told, and that it always ends."""

import asyncio
import socket
import subprocess
import sys

import pytest

from nitro.engines.client.process import EngineProcess
from nitro.system import child_process as module
from nitro.system.frame_connection import FrameConnection


def stand_in(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program])


async def end(program: str) -> str:
    """Run a program in the place of an engine, whose socket is closed at once."""
    ours, theirs = socket.socketpair()
    theirs.close()
    child = stand_in(program)
    engine = EngineProcess(child, await FrameConnection.connect(ours))
    assert await engine.burst() == []
    try:
        return await engine.how_it_ended()
    finally:
        await engine.reap()
        assert child.returncode is not None


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
    ],
)
def test_how_it_ended(monkeypatch: pytest.MonkeyPatch, program: str, sentence: str) -> None:
    monkeypatch.setattr(module, "BRIEF", 60)
    assert sentence in asyncio.run(end(program))


def test_one_that_does_not_go_is_not_waited_for_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeing gigabytes may take it seconds; its requests must not wait for that."""
    monkeypatch.setattr(module, "BRIEF", 0)
    monkeypatch.setattr(module, "PATIENCE", 0)
    assert "closed its connection" in asyncio.run(end("import signal; signal.pause()"))


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(OSError):
        asyncio.run(EngineProcess.start())
