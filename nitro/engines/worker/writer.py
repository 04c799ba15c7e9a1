"""The writer thread: messages from the outbox, encoded and sent. A message that has no encoding fails its requests.

What a step has to tell is sent by the engine thread itself, and that a request is accepted by the thread that made it
ready, if nothing is before it and the socket takes it: to wake the writer would take time on a core that computes by
then.
"""

from __future__ import annotations

import logging
import os
import socket
import threading

from nitro.engines import messages
from nitro.engines.types import Output
from nitro.engines.worker.commands import AbortSequences
from nitro.engines.worker.loop import Inbox
from nitro.engines.worker.outbox import Outbox
from nitro.system import frames

MAX_TOGETHER = 16  # messages in one write
AT_ONCE = getattr(socket, "MSG_DONTWAIT", None)  # the flag for it; Windows has none

log = logging.getLogger("nitro.engine")


class Writer(threading.Thread):
    """Writes what is in `outbox` until the socket closes, which ends the process."""

    def __init__(self, sock: socket.socket, inbox: Inbox, outbox: Outbox):
        super().__init__(name="writer", daemon=True)
        self._sock = sock
        self._inbox = inbox
        self._outbox = outbox
        self._sending = threading.Lock()  # held by who takes messages out and sends them
        self._unsent = b""  # of a message of which the socket has taken a part
        if AT_ONCE is not None:
            outbox.send = self.send

    def run(self) -> None:
        """Write until the socket closes, then end the process."""
        try:
            while True:
                self._outbox.wait()
                with self._sending:
                    # a thread that has to wait for Python's lock does so once for all
                    data = self._unsent + b"".join(map(self._encode, self._outbox.take(MAX_TOGETHER)))
                    self._unsent = b""
                    self._sock.sendall(data)
        except OSError:
            os._exit(0)
        except Exception:
            log.exception("the writer failed")
            os._exit(1)

    def send(self, *messages: frames.WireMessage) -> None:
        """Send them now, if that is possible without waiting. Any thread may. Ends the process where the socket is
        closed."""
        if not self._sending.acquire(blocking=False):
            self._outbox.put(*messages)
            return
        try:
            if self._unsent or not self._outbox.empty():
                self._outbox.put(*messages)
                return
            self._unsent = self._send_at_once(b"".join(map(self._encode, messages)))
        finally:
            self._sending.release()
        if self._unsent:
            self._outbox.wake()

    def _send_at_once(self, data: bytes) -> bytes:
        """Returns what the socket does not take."""
        assert AT_ONCE is not None
        try:
            return data[self._sock.send(data, AT_ONCE) :]
        except BlockingIOError:
            return data
        except OSError:
            os._exit(0)

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
            case messages.Accepted(id) | messages.Tokenized(id) | messages.Detokenized(id):
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
