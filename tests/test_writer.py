"""Messages to the server: in order, whoever sends them, and none is lost where the socket takes only a part."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from nitro.engines import messages
from nitro.engines.worker import writer as writer_module
from nitro.engines.worker.loop import Inbox
from nitro.engines.worker.outbox import Outbox
from nitro.engines.worker.writer import Writer
from nitro.system import frames

CEILING = 20.0  # seconds
LONG = "x" * 5_000_000  # no socket takes as much at once
at_once = pytest.mark.skipif(writer_module.AT_ONCE is None, reason="the writer sends everything on this system")


def end_thread(code: int) -> None:
    raise SystemExit(code)


class EndingWriter(Writer):
    """Where it would end the process, its thread ends."""

    def run(self) -> None:
        with suppress(SystemExit):
            super().run()


class Ends:
    """A writer with its outbox, and what comes out of the other end of its socket."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.far.settimeout(CEILING)
        self.outbox = Outbox()
        self.writer = EndingWriter(self.near, Inbox(), self.outbox)
        self._payloads = frames.payloads(self.far)

    def close(self) -> None:
        self._payloads.close()  # type: ignore[attr-defined]
        self.near.close()
        self.far.close()

    def send(self, id: int, error: str = "") -> None:
        """As the engine thread does."""
        self.outbox.send(messages.Rejected(id, error))

    def put(self, id: int) -> None:
        """As other threads do."""
        self.outbox.put(messages.Rejected(id, ""))

    def received(self, count: int) -> list[int]:
        """The ids of the next messages."""
        arrived = [messages.decode_from_engine(next(self._payloads)) for _ in range(count)]
        return [message.id for message in arrived if isinstance(message, messages.Rejected)]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(os, "_exit", end_thread)  # what the writer does when the server is gone
    made = Ends()
    yield made
    made.far.shutdown(socket.SHUT_RDWR)
    if made.writer.ident is not None:
        made.put(0)
        made.writer.join(CEILING)
        assert not made.writer.is_alive()
    made.close()


@at_once
def test_what_the_engine_thread_sends_needs_no_writer(ends: Ends) -> None:
    for id in range(5):
        ends.send(id)
    assert ends.outbox.empty() and ends.received(5) == list(range(5))


@at_once
def test_what_belongs_together_comes_together(ends: Ends) -> None:
    ends.outbox.send(messages.Rejected(1, ""), messages.Rejected(2, ""))
    assert ends.outbox.empty() and ends.received(2) == [1, 2]
    ends.put(3)
    ends.outbox.send(*(messages.Rejected(id, "") for id in range(4, 40)))  # more than are written together
    ends.writer.start()
    assert ends.received(37) == list(range(3, 40))


@at_once
def test_it_waits_behind_what_others_have_put(ends: Ends) -> None:
    ends.put(1)
    ends.send(2)
    ends.put(3)
    assert not ends.outbox.empty()
    ends.writer.start()
    assert ends.received(3) == [1, 2, 3]


@at_once
def test_it_does_not_wait_for_a_socket_that_is_full(ends: Ends) -> None:
    """The writer sends the rest, then what has come meanwhile."""
    ends.send(1, LONG)
    ends.send(2)
    ends.put(3)
    ends.send(4)
    ends.writer.start()
    assert ends.received(4) == [1, 2, 3, 4]
    ends.send(5)
    assert ends.received(1) == [5]


def test_more_messages_than_are_written_together(ends: Ends) -> None:
    count = 3 * writer_module.MAX_TOGETHER
    for id in range(count):
        ends.put(id)
    ends.writer.start()
    assert ends.received(count) == list(range(count))


@at_once
def test_the_engine_ends_when_the_server_is_gone(ends: Ends) -> None:
    ends.far.shutdown(socket.SHUT_RDWR)
    with pytest.raises(SystemExit):
        ends.send(1)
