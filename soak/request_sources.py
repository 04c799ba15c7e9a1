"""Where hostile requests come from: the grammar of mutations, the OpenAPI document, and odd heads, in turn."""

import asyncio
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from nitro.api.openapi.document import OPERATIONS
from soak import requests
from soak.requests import Request
from soak.servers import ROOT, environment

LENGTH = struct.Struct("<I")  # of a frame
ENDLESS = ("get", "/v1/server/events")  # a stream that only its client ends
SHARES, OF_DOCUMENT, OF_HEADS = 10, (1, 4, 7, 9), (2,)  # of ten requests: those of the document, and with odd heads
PROGRESS = 1000  # requests between two lines of progress


def paths() -> list[str]:
    """The paths of all routes that do something, as requests have them."""
    found = {path for (method, path), about in OPERATIONS.items() if (method, path) != ENDLESS and not about.fails}
    return sorted(path.partition("{")[0] + "a" if "{" in path else path for path in found)


@contextmanager
def documented(seed: int, count: int) -> Iterator[Iterator[Request]]:
    """So many requests of a seed, while a process makes them from the OpenAPI document."""
    command = [sys.executable, "-P", "-m", "soak.document_requests", str(seed), str(count)]
    making = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
    try:
        yield _read(making)
    finally:
        making.kill()
        making.wait()
        assert making.stdout
        making.stdout.close()


def _read(making: "subprocess.Popen[bytes]") -> Iterator[Request]:
    assert making.stdout
    while head := making.stdout.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        yield msgspec.msgpack.decode(making.stdout.read(length), type=Request)


class Source:
    """Requests of three sources in turn: the grammar of mutations, the OpenAPI document, and odd heads. One by one, for
    several tasks."""

    def __init__(self, seed: int, count: int, documented: Iterator[Request]):
        self._numbers = iter(range(count))
        self._seed = seed
        self._documented = documented
        self._paths = paths()
        self._lock = threading.Lock()

    async def next(self) -> Request | None:
        """The next one; None: there is none."""
        i = next(self._numbers, None)
        if i is None:
            return None
        if i % PROGRESS == 0:
            print(f"request {i}", file=sys.stderr, flush=True)
        if i % SHARES in OF_DOCUMENT:
            return await asyncio.to_thread(self._next_documented)
        if i % SHARES in OF_HEADS:
            return requests.raw(self._seed, i, self._paths)
        return requests.number(self._seed, i)

    def _next_documented(self) -> Request:
        """Waits for the process that makes them."""
        with self._lock:
            return next(self._documented)
