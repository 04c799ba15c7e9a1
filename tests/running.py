"""Real servers for tests: in this process on a thread of its own, or as a process of their own. Real sockets both."""

import asyncio
import inspect
import logging
import os
import queue
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import fast
import httpx
import openai

from nitro.config import ServeConfig
from nitro.engines.client.engine import Engine
from nitro.server import Server

CEILING = 60.0  # seconds; a limit that only a hang reaches
FAKE = "nitro.engines.backends.fake:FakeRunner"
# Every client of httpx makes one, though no server here speaks TLS: it reads the certificates of all authorities.
ssl.create_default_context = cache(ssl.create_default_context)
# httpx waits for five seconds unless it is told otherwise: a machine that is busy may need more.
for what in ("connect", "read", "write", "pool"):
    setattr(inspect.signature(httpx.get).parameters["timeout"].default, what, CEILING)
PIPES = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}


class RunningServer:
    """A `Server` on a thread; its engine runs as the usual process."""

    def __init__(self, config: ServeConfig):
        fast.skip_server()
        self._config = config
        self._up = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server under test")
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()  # the request log

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self.server = Server(self._config)
        self._loop = asyncio.get_running_loop()
        self._up.set()
        await self.server.serve()

    def __enter__(self) -> "RunningServer":
        self._handler = _ToQueue(self.lines)
        logging.getLogger("nitro.request").addHandler(self._handler)
        logging.getLogger("nitro.request").setLevel(logging.INFO)
        self._thread.start()
        assert self._up.wait(CEILING)
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(CEILING)
        logging.getLogger("nitro.request").removeHandler(self._handler)
        assert not self._thread.is_alive(), "the server did not stop"
        if self._failure:
            raise self._failure

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def engine(self) -> Engine:
        """The default model's."""
        return self.server.engine

    def client(self, **options: object) -> openai.OpenAI:
        return sdk(self.url, **options)

    def run(self, coroutine):
        """The result of a coroutine on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CEILING)

    def ready(self) -> "RunningServer":
        self.run(self.engine.ready())
        return self

    def log_line(self) -> str:
        """The next line of the request log, waited for."""
        return self.lines.get(timeout=CEILING)

    def log_of(self, reply: httpx.Response) -> str:
        """The line of the request that got this reply, waited for. What came before is passed over."""
        while reply.headers["x-request-id"] not in (line := self.log_line()):
            pass
        return line

    def rows(self) -> list[list[int]]:
        """The sequence ids of every step so far."""
        return [[row.id for row in record.rows] for record in list(self.engine.steps)]


class _ToQueue(logging.Handler):
    def __init__(self, lines: "queue.SimpleQueue[str]"):
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(record.getMessage())


clients: list[openai.OpenAI] = []  # closed after each test: a stream that failed keeps its socket otherwise


def sdk(url: str, **options: object) -> openai.OpenAI:
    """The OpenAI SDK as its users have it, but for the address."""
    settings = {"base_url": f"{url}/v1", "api_key": "none", "max_retries": 0, "timeout": CEILING, **options}
    clients.append(openai.OpenAI(**settings))
    return clients[-1]


class ServerProcess:
    """`nitro serve` as a user starts it, on a free port."""

    def __init__(self, *arguments: str, **options: Any):
        """`options`: of Popen."""
        fast.skip_server()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nitro", "serve", "--port", "0", *arguments],
            text=True,
            start_new_session=True,  # a process group of its own, as a terminal makes it
            **{**PIPES, **options},
        )
        self.said: list[str] = []

    def wait_ready(self) -> str:
        """The URL, once the banner has told it."""
        for line in self.process.stderr:
            self.said.append(line)
            if match := re.search(r"URL\s+(\S+?)(/v1)?$", line.rstrip()):
                return match[1]
        raise AssertionError("the server ended before it was ready:\n" + "".join(self.said))

    def engine_pid(self) -> int:
        return self._child("nitro.engines.worker.main")

    def _child(self, module: str) -> int:
        """The process that runs this module."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (pid for pid in children if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())
        return int(pid)


@contextmanager
def server_process(*arguments: str, **options: Any) -> Iterator[ServerProcess]:
    server = ServerProcess(*arguments, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stderr.close()


def until(holds: Callable[[], object]) -> None:
    """Ask again and again whether something holds, which nobody tells of."""
    end = time.monotonic() + CEILING
    while not holds():
        assert time.monotonic() < end, "it never holds"


def wait_gone(pidfd: int) -> None:
    """Wait until the process behind a pidfd has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(CEILING * 1000), "the process lives on"
    os.close(pidfd)


def raw_request(
    url: str, body: bytes, declared: int | None = None, path: str = "/v1/chat/completions", *headers: str
) -> socket.socket:
    """A request on a socket of our own, to be read or dropped at will. `declared`: a false length of the body.
    `headers`: more lines of its head."""
    host, port = url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)), CEILING)
    length = len(body) if declared is None else declared
    head = (f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {length}", *headers, "", "")
    sock.sendall("\r\n".join(head).encode() + body)
    return sock
