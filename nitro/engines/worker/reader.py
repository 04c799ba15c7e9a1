"""The reader thread: frames off the socket, each given to whoever handles its message."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from collections.abc import Callable

from nitro.engines import messages
from nitro.system import frames

log = logging.getLogger("nitro.engine")

Handle = Callable[[messages.Request], None]


class Reader(threading.Thread):
    """Reads frames until the socket closes, which ends the process.

    It runs from the start, so that it notices a server that goes away while a model loads. The first frames are Import,
    if the process is to wait, and Load.
    The server sends requests only after Ready, so `handle_with` is called before that goes out.
    """

    def __init__(self, sock: socket.socket):
        super().__init__(name="reader", daemon=True)
        self._sock = sock
        self._first: queue.SimpleQueue[messages.Import | messages.Load] = queue.SimpleQueue()
        self._handle: Handle = _too_early

    def wait_for_load(self, prepare: Callable[[str], None]) -> messages.Load:
        """The Load, as soon as it is there. `prepare` is called with the engine of an Import before it."""
        while isinstance(message := self._first.get(), messages.Import):
            prepare(message.engine)
        return message

    def handle_with(self, handle: Handle) -> None:
        """From now on requests go to `handle`, on this thread. It must return at once."""
        self._handle = handle

    def run(self) -> None:
        """Read until the socket closes, then end the process."""
        try:
            for payload in frames.payloads(self._sock):
                self._take(payload)
            os._exit(0)
        except Exception:
            log.exception("the reader failed")
            os._exit(1)

    def _take(self, payload: bytes) -> None:
        try:
            message = messages.decode_to_engine(payload)
            if isinstance(message, messages.Import | messages.Load):
                self._first.put(message)
            else:
                self._handle(message)
        except Exception:  # a fault of ours; the next frame may be in order
            log.exception("a frame could not be read")


def _too_early(message: messages.Request) -> None:
    raise RuntimeError(f"{type(message).__name__} came before the model was loaded")
