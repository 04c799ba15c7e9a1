"""What is said on standard error when nobody reads it, or nobody is there: nobody waits, and nothing ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from running import CEILING, FAKE, PIPES, ServerProcess, server_process

from nitro.system.held_port import held_port
from nitro.system.logs import MAX_MESSAGE, Sink

ROOT = Path(__file__).parent.parent


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Ends to read and to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass


def read_until(descriptor: int, mark: bytes) -> bytes:
    said = b""
    while mark not in said:
        part = os.read(descriptor, 2**16)
        assert part, said
        said += part
    return said


def test_what_does_not_fit_is_counted(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Sink(writer, limit=1000)
    line = b"x" * 99 + b"\n"
    for _ in range(10_000):
        sink.put(line)
    sink.flush(0.0)
    said, dropped = b"", 0
    while said.count(line) + dropped < 10_000:
        said += os.read(reader, 2**16)
        dropped = sum(map(int, re.findall(rb"(\d+) lines of the log were dropped", said)))
    assert said.count(line) + dropped == 10_000 and dropped > 0
    sink.put(b"again\n")
    assert b"again\n" in read_until(reader, b"again\n")


def test_a_descriptor_that_does_not_block(pipe: tuple[int, int]) -> None:
    """Another program that shares it may have made it so."""
    reader, writer = pipe
    os.set_blocking(writer, False)
    sink = Sink(writer)
    for number in range(2_000):
        sink.put(b"%d\n" % number + b"x" * 400 + b"\n")
    said = read_until(reader, b"1999\n")
    assert [line for line in said.split(b"\n") if line.isdigit()] == [b"%d" % number for number in range(2_000)]


def test_nobody_is_there(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    sink = Sink(writer)
    for _ in range(100):
        sink.put(b"x\n")
    sink.flush(CEILING)
    assert sink._dropped == 100


def test_a_long_line_is_cut(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    sink.put(b"x" * 10**6 + b"\n")
    sink.put(b"end\n")
    assert read_until(pipe[0], b"end\n") == b"x" * MAX_MESSAGE + b"...\nend\n"


def test_all_of_python_goes_through_it() -> None:
    """The log, warnings, prints, tracebacks of threads; at the end nothing is lost, nor when the program is over."""
    program = """
import logging, sys, threading, warnings
from nitro.system import logs
logs.install("info")
logging.getLogger("a").info("of the log")
warnings.warn("a warning")
print("printed", "in pieces", file=sys.stderr, end="")
print(", an end", file=sys.stderr)
print(chr(0xD83D), file=sys.stderr)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(), thread.join()
for _ in range(1000): print("x" * 99, file=sys.stderr)
print("the end", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=CEILING)
    assert done.returncode == 0
    for text in ("INFO a: of the log", "a warning", "printed in pieces, an end\n", r"\ud83d", "ZeroDivisionError"):
        assert text in done.stderr
    assert done.stderr.endswith("the end\n")


# Servers


def ask(url: str, **fields: object) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, **fields}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=CEILING)


@contextmanager
def quiet(*arguments: str, **options: object) -> Iterator[tuple[ServerProcess, str]]:
    """A server that cannot tell where it listens, and its URL."""
    with held_port() as port, server_process(*arguments, "--port", str(port), **options) as server:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                assert server.process.poll() is None
        yield server, url


def stop(server: ServerProcess) -> None:
    engine = os.pidfd_open(server.engine_pid())
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(CEILING) == 0
    os.close(engine)


def test_nobody_reads_it() -> None:
    """Neither the server nor its engine waits: a pipe holds 64 KB, this is megabytes of both."""
    with quiet("--engine", "runners:TalkingRunner", "--log-level", "debug") as (server, url):
        for _ in range(20):
            assert ask(url, messages=[{"role": "x" * 50_000, "content": "a"}]).status_code == 400
            assert ask(url).status_code == 200
        stop(server)


def test_what_an_engine_says_is_passed_on() -> None:
    with server_process("--engine", "runners:TalkingRunner") as server:
        url = server.wait_ready()
        assert ask(url).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        said = server.process.stderr.read()
    assert "by the library\n" in said and "by Python\n" in said


def test_its_reader_has_gone() -> None:
    with server_process("--engine", "runners:TalkingRunner", "--log-level", "debug") as server:
        url = server.wait_ready()
        server.process.stderr.close()
        for _ in range(3):
            assert ask(url).status_code == 200 and ask(url, n=0).status_code == 400
        stop(server)


@pytest.mark.parametrize("closed", ["0", "2", "0 1 2"])
def test_closed_from_the_beginning(closed: str) -> None:
    """What a program opens next would become its standard input, and a library that looks would end it."""
    with held_port() as port:
        redirections = " ".join(f"{number}>&-" for number in closed.split())
        command = f'exec "{sys.executable}" -P -m nitro serve --engine {FAKE} --port {port} {redirections}'
        process = subprocess.Popen(["sh", "-c", command], text=True, **PIPES)
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                try:
                    if httpx.get(f"{url}/health").status_code == 200:
                        break
                except httpx.TransportError:
                    assert process.poll() is None
            assert ask(url).json()["choices"][0]["message"]["content"] == "?"
            process.send_signal(signal.SIGTERM)
            assert process.wait(CEILING) == 0
            assert "Error" not in process.stderr.read()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


@pytest.mark.parametrize("closed", ["0", "0 1 2"])
def test_a_start_error_with_closed_ones(closed: str) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed.split())
    command = f'exec "{sys.executable}" -P -m nitro serve /nowhere.gguf {redirections}'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    if "2" not in closed:
        assert done.stderr == "nitro: /nowhere.gguf: no such file.\n"


def test_no_line_is_wrapped_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of a file is one line, however long: of the start, the banner and the log."""
    monkeypatch.setenv("COLUMNS", "80")
    name = " ".join(["a model with a long name"] * 10)
    with server_process("--engine", FAKE, "--alias", name) as server:
        url = server.wait_ready()
        path = "/" + "-".join(["nowhere"] * 30)
        assert httpx.get(url + path).status_code == 404 and ask(url).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        said = [*server.said, *server.process.stderr.read().splitlines(keepends=True)]
    assert f"Loading {name} …\n" in said
    assert any(line.startswith(f"  model    {name} (") and line.endswith("tokens)\n") for line in said)
    assert any("error 404" in line and line.endswith(f"(GET {path} from 127.0.0.1)\n") for line in said)
    assert any(f" {name} prompt=" in line and " finish=" in line for line in said)
