"""The engine thread's loop, run on this thread with a fake runner."""

import pytest

from nitro.engines import wire
from nitro.engines.fake import FakeRunner
from nitro.engines.scheduler import Sequence
from nitro.engines.types import EngineSpec, Sampling
from nitro.engines.worker import EngineLoop, Inbox, Outbox


class Rested(Exception):
    pass


class ShortLived(FakeRunner):
    """The first time that it rests, more work comes; the second time ends the loop."""

    def __init__(self, inbox: Inbox):
        super().__init__(EngineSpec("fake", "", context=64))
        self._inbox, self._rested = inbox, False

    def rest(self) -> None:
        if self._rested:
            raise Rested
        self._rested = True
        self._inbox.put([Sequence(3, [32] * 5, 2, Sampling())])


def test_the_runner_rests_when_nothing_is_left_to_do() -> None:
    """Not between the steps of a request, nor before the last of it is handed out."""
    inbox, outbox = Inbox(), Outbox()
    for id in (1, 2):
        inbox.put([Sequence(id, [32] * 5, 3, Sampling())])
    inbox.put(wire.Abort([2]))
    with pytest.raises(Rested):
        EngineLoop(ShortLived(inbox), inbox, outbox).run()
    outputs = []
    while not outbox.empty():
        outputs += outbox.get().outputs
    assert [(o.id, o.finish) for o in outputs if o.finish] == [(1, "length"), (3, "length")]
