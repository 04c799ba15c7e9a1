"""Frames off the socket, and the threads that make requests ready: nobody waits for what another one's request takes.

    socket → reader ─┬─ Abort ───────────────────────────────────────────────────► inbox → engine thread
                     └─ Generate → small        one thread, in order ────────────► (or → outbox: why not)
                                   long         a piece of each request in turn
                                   constrained  the same: constraints are compiled

What is in a request is opened and made ready there, and whatever goes wrong with that is this request's error. A client
that leaves is known at once: no further piece of its request is begun.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from dataclasses import dataclass

from nitro.engines import messages
from nitro.engines.crash_marks import LANES, Marks
from nitro.engines.scheduling.scheduler import Sequence
from nitro.engines.worker.preparation import (
    Abandoned,
    Lane,
    Pieces,
    Preparation,
    Prepared,
    Rejection,
    brief,
    first_lane,
)
from nitro.system import frames

log = logging.getLogger("nitro.engine")

Inbox = queue.SimpleQueue[messages.Load | list[Sequence] | messages.Abort]
Outbox = queue.SimpleQueue[frames.Message]

# The libraries release Python's lock. Several, so that one request that takes long does not keep others of its kind.
THREADS: dict[Lane, int] = {"small": 1, "long": 2, "constrained": 3}
assert sum(THREADS.values()) < LANES  # the first is the engine thread's


@dataclass(frozen=True, slots=True)
class _Request:
    first: int  # its id, by which it is answered
    ids: list[int]
    pieces: Pieces[Prepared]


class Preparers:
    """The threads that make requests ready. `begin` and `abort` return at once."""

    def __init__(self, preparation: Preparation, inbox: Inbox, outbox: Outbox, marks: Marks):
        self._preparation, self._inbox, self._outbox, self._marks = preparation, inbox, outbox, marks
        self._wanted: set[int] = set()  # the ids that are being made ready
        self._lock = threading.Lock()  # guards it, and that no sequence comes after its Abort
        self._queues: dict[Lane, queue.SimpleQueue[_Request]] = {lane: queue.SimpleQueue() for lane in THREADS}
        lanes = [lane for lane, count in THREADS.items() for _ in range(count)]
        for number, lane in enumerate(lanes, 1):
            threading.Thread(target=self._run, args=(lane, number), name=f"preparer-{number}", daemon=True).start()

    def begin(self, message: messages.Generate) -> None:
        first = message.ids[0]
        pieces = self._preparation.pieces(message.ids, message.work, lambda: first in self._wanted)
        request = _Request(first, message.ids, pieces)
        with self._lock:
            self._wanted.update(message.ids)
        self._queues[first_lane(message.work)].put(request)

    def abort(self, message: messages.Abort) -> None:
        with self._lock:
            self._wanted.difference_update(message.ids)
            self._inbox.put(message)

    def _run(self, lane: Lane, number: int) -> None:
        """One thread: the next piece of each request in turn, as long as the request stays in its lane."""
        requests = self._queues[lane]
        while True:
            request = requests.get()
            self._marks.write(number, [request.first])
            while request.first in self._wanted:
                next_lane = self._piece(request)
                if next_lane is None:
                    break
                if next_lane != lane or not requests.empty():
                    self._queues[next_lane].put(request)
                    break
            self._marks.write(number)
            del request  # and with it what it holds

    def _piece(self, request: _Request) -> Lane | None:
        """The lane of the next piece; None: it was the last."""
        try:
            return next(request.pieces)
        except StopIteration as done:
            self._hand_over(request, done.value)
        except Abandoned:
            pass
        except Rejection as rejection:
            self._refuse(request, rejection.answer)
        except BaseException as problem:
            log.exception("a request could not be made ready")
            self._refuse(
                request, messages.Rejected(request.first, f"The request could not be made ready: {brief(problem)}")
            )
        return None

    def _hand_over(self, request: _Request, prepared: Prepared) -> None:
        with self._lock:
            sequences = [sequence for sequence in prepared.sequences if sequence.id in self._wanted]
            self._wanted.difference_update(request.ids)
            if sequences:
                self._outbox.put(prepared.accepted)
                self._inbox.put(sequences)

    def _refuse(self, request: _Request, answer: messages.Rejected | messages.TooLong) -> None:
        with self._lock:
            self._wanted.difference_update(request.ids)
        self._outbox.put(answer)


class Reader(threading.Thread):
    """Reads frames until the socket closes, which ends the process.

    It runs from the start, so that a server that goes while a model loads is noticed; the first Generate comes after
    Ready, when `preparers` is set.
    """

    preparers: Preparers

    def __init__(self, sock: socket.socket, inbox: Inbox):
        super().__init__(name="reader", daemon=True)
        self._sock, self._inbox = sock, inbox

    def run(self) -> None:
        try:
            for payload in frames.payloads(self._sock):
                self._take(payload)
            os._exit(0)
        except Exception:
            log.exception("the reader failed")
            os._exit(1)

    def _take(self, payload: bytes) -> None:
        try:
            match message := messages.decode_to_engine(payload):
                case messages.Generate():
                    self.preparers.begin(message)
                case messages.Abort():
                    self.preparers.abort(message)
                case messages.Load():
                    self._inbox.put(message)
        except Exception:  # a fault of ours; the next frame may be in order
            log.exception("a frame could not be read")
