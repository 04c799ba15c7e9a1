"""Signs of life of ranks: a rank that is stopped is named in every phase, and one that takes its time is not."""

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from running import CEILING, until

from nitro.engines.backends.mlx.ranks import pulse, starting, team, wire
from nitro.engines.hostfile import Host, Hostfile
from nitro.engines.runner import LoadError
from nitro.engines.silence import Silence
from nitro.engines.types import EngineSpec
from nitro.system import frames

HERE = Host("127.0.0.1", ["127.0.0.1"])
FAR = Host("far.example", ["127.0.0.1"])
PAUSE = 0.05  # seconds between two looks
BEAT = 0.05  # seconds between two Alive


PATIENT = """
import faulthandler

ends = faulthandler.dump_traceback_later
faulthandler.dump_traceback_later = lambda seconds, **how: ends(600, **how)
"""


def test_a_rank_lives_while_mlx_lets_no_thread_run(model: Path, tmp_path: Path) -> None:
    """Rank 0 is played here, and is where no other rank finds it: MLX looks for it, with Python's lock in its hand, for
    as long as it may."""
    pytest.importorskip("mlx.core")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(CEILING)
        errand = wire.Errand(1, HERE.ips, *listener.getsockname(), "secret")
        with starting.start(HERE, errand, _customized(tmp_path, PATIENT)) as process:
            try:
                (beats, _), (link, _) = listener.accept(), listener.accept()
                with beats, link:
                    _until_it_looks_for_others(model, beats, link)
                    assert process.poll() is None
                    os.kill(process.pid, signal.SIGSTOP)
                    until(lambda: pulse.is_stopped(process))
                    silence = Silence(PAUSE)
                    until(lambda: silence.look(pulse.heard(beats)) > 1.2)
                    os.kill(process.pid, signal.SIGCONT)
                    until(lambda: pulse.heard(beats))
            finally:
                process.kill()


def _customized(folder: Path, code: str) -> dict[str, str]:
    """The environment of a process that runs this first."""
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}


def _until_it_looks_for_others(model: Path, beats: socket.socket, link: socket.socket) -> None:
    """Until, between some signs of life, no thread said anything."""
    for sock in (beats, link):
        sock.settimeout(CEILING)
    messages = frames.payloads(link)
    assert _next(frames.payloads(beats)) == wire.Pulse("secret", 1)
    hello = _next(messages)
    assert isinstance(hello, wire.Hello)
    files = {"MLX_HOSTFILE": json.dumps([["127.0.0.1:28433"], [f"127.0.0.1:{hello.ports[0]}"]])}
    join = wire.Join(EngineSpec("mlx", str(model)), {}, files, "ring", ["rank 0", "rank 1"], 1, BEAT)
    link.sendall(frames.frame(join))
    while not isinstance(_next(messages), wire.Arrived):
        pass
    link.sendall(frames.frame(wire.Meet()))
    for sock in (beats, link):
        sock.settimeout(None)

    def only_lives() -> bool:
        _drained(link)
        for _ in range(3):
            until(lambda: pulse.heard(beats))
        return not _drained(link)

    until(only_lives)


SLOW = """
from importlib import metadata

found = metadata.version

def version(name):
    if name == "mlx-lm":
        open({fifo!r}).read()
    return found(name)

metadata.version = version
"""


def test_a_rank_that_begins_slowly_connects_when_it_can_say_who_it_is(tmp_path: Path) -> None:
    """Rank 0 gives whoever connects two seconds for that."""
    pytest.importorskip("mlx.core")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    customized = _customized(tmp_path, SLOW.format(fifo=str(fifo)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(CEILING)
        errand = wire.Errand(1, HERE.ips, *listener.getsockname(), "secret")
        with starting.start(HERE, errand, customized) as process:
            try:
                with listener.accept()[0]:
                    reading = _reader_of(fifo)
                    listener.setblocking(False)
                    with pytest.raises(BlockingIOError):
                        listener.accept()
                    listener.settimeout(CEILING)
                    os.close(reading)
                    with listener.accept()[0] as link:
                        link.settimeout(CEILING)
                        assert isinstance(_next(frames.payloads(link)), wire.Hello)
            finally:
                process.kill()


def _reader_of(fifo: Path) -> int:
    """Wait until somebody reads there. Returns a descriptor for writing, by whose end the reading ends."""
    found: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    until(is_read)
    return found[0]


def _next(messages: Iterator[bytes]) -> object:
    return wire.decode_at_zero(next(messages))


def _drained(sock: socket.socket) -> bytes:
    try:
        return sock.recv(2**20, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


class Ended(threading.Event):
    """Instead of the end of this process: what would have been said."""

    def __call__(self, sentence: str) -> None:
        if not self.is_set():
            self.sentence = sentence
            self.set()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Ended:
    """A second of silence is the limit: nobody lives here whom it could hit."""
    found = Ended()
    monkeypatch.setattr(team.Team, "_end", lambda _self, sentence: found(sentence))
    monkeypatch.setattr(team, "LIMIT", 1.0)
    return found


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` of the test's own, to be written."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = tmp_path / "ssh"
    script.touch(0o755)
    return script


WORDS = r"rank 1 \(far\.example\) has given no sign of life for [\d.]+ seconds"


def test_a_rank_that_falls_silent_before_the_model_is_loaded(tmp_path: Path, ssh: Path, ended: Ended) -> None:
    """Its connections stay open, and its process lives: that may be the ssh that led to it."""
    told = tmp_path / "errand"
    ssh.write_text(f"#!/bin/sh\necho {starting.READY}\nread errand\necho $errand > {told}\nexec sleep 600\n")
    found = team.Team(Hostfile([HERE, FAR]), None)
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(found.start)
        until(lambda: told.is_file() and told.read_text().endswith("\n"))
        errand = json.loads(told.read_text())
        with socket.create_connection((errand["host"], errand["port"]), CEILING) as beats:
            beats.sendall(frames.frame(wire.Pulse(errand["secret"], 1)) + b"\x0e")
            with socket.create_connection((errand["host"], errand["port"]), CEILING) as link:
                link.sendall(frames.frame(wire.Hello(errand["secret"], 1, team.versions(), 2**40, [1])))
                assert begun.result(CEILING) == [[1]]
                assert ended.wait(CEILING)
                found.close()
    assert re.fullmatch(WORDS, ended.sentence)


def test_a_rank_that_is_stopped_before_its_first_line(ssh: Path, ended: Ended) -> None:
    """What starts slowly has a minute; what is stopped does not start."""
    ssh.write_text("#!/bin/sh\nkill -STOP $$\n")
    found = team.Team(Hostfile([HERE, FAR]), None)
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(found.start)
        assert ended.wait(CEILING)
        found.close()
        with pytest.raises(LoadError, match=r"rank 1 \(far\.example\) was killed by SIGKILL before it had begun"):
            begun.result(CEILING)
    assert re.fullmatch(WORDS, ended.sentence)
