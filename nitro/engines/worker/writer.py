"""The writer thread: messages from the outbox, encoded and sent. A message that has no encoding fails its requests."""

from __future__ import annotations

import logging
import os
import socket
import threading

from nitro.engines import messages
from nitro.engines.types import Output
from nitro.engines.worker.commands import AbortSequences
from nitro.engines.worker.loop import Inbox, Outbox
from nitro.system import frames

MAX_TOGETHER = 16  # messages in one write

log = logging.getLogger("nitro.engine")


class Writer(threading.Thread):
    """Writes what is in `outbox` until the socket closes, which ends the process."""

    def __init__(self, sock: socket.socket, inbox: Inbox, outbox: Outbox):
        super().__init__(name="writer", daemon=True)
        self._sock = sock
        self._inbox = inbox
        self._outbox = outbox

    def run(self) -> None:
        """Write until the socket closes, then end the process."""
        try:
            while True:
                self._sock.sendall(b"".join(map(self._encode, self._waiting())))
        except OSError:
            os._exit(0)
        except Exception:
            log.exception("the writer failed")
            os._exit(1)

    def _waiting(self) -> list[frames.WireMessage]:
        """The next message, and those behind it: a thread that has to wait for Python's lock does so once for all."""
        waiting = [self._outbox.get()]
        while len(waiting) < MAX_TOGETHER and not self._outbox.empty():
            waiting.append(self._outbox.get())
        return waiting

    def _encode(self, message: frames.WireMessage) -> bytes:
        try:
            return frames.frame(message)
        except Exception as error:
            log.exception("a message could not be written")
            substitutes = self._substitutes(message, f"The engine could not tell its answer: {error!r}")
            return b"".join(map(frames.frame, substitutes))

    def _substitutes(self, message: frames.WireMessage, error: str) -> list[frames.WireMessage]:
        """What is sent in place of a message that has no encoding: the requests at fault fail, and no others."""
        match message:
            case messages.Accepted(id):
                return [messages.Rejected(id, error)]  # the server aborts all of its sequences
            case messages.Step(record, outputs):
                faulty = [output.id for output in outputs if not _has_encoding(output)]
                self._inbox.put(AbortSequences(faulty))
                failed = {id: Output(id, [], [], "error", error) for id in faulty}
                return [messages.Step(record, [failed.get(output.id, output) for output in outputs])]
        return []


def _has_encoding(output: Output) -> bool:
    try:
        return bool(frames.encode(output))
    except Exception:
        return False
