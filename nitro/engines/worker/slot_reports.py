"""What the slots hold, told to the server while somebody watches. Belongs to the engine thread."""

import time
from collections.abc import Callable

from nitro.engines import messages
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.types import SlotState
from nitro.engines.worker.outbox import Outbox

EVERY = 0.25  # seconds between two reports of the same sequences


class SlotReports:
    """Those of one engine."""

    def __init__(self, scheduler: Scheduler, outbox: Outbox, clock: Callable[[], float] = time.monotonic):
        self.active = False
        self._scheduler = scheduler
        self._outbox = outbox
        self._clock = clock
        self._next = 0.0  # when a step may be reported again
        self._told: list[int] = []  # the sequences that ran at the last report

    def watch(self, active: bool) -> None:
        """Begin, with a report of how things stand, or end."""
        self.active = active
        if active:
            self.tell()

    def after_step(self) -> None:
        """A step has ended. Other sequences are told at once: the next step may last long."""
        if self.active and (self._clock() >= self._next or self._running() != self._told):
            self.tell()

    def tell(self) -> None:
        """Report now, if somebody watches."""
        if self.active:
            self._next = self._clock() + EVERY
            self._told = self._running()
            self._outbox.send(messages.Slots(self._states()))

    def _running(self) -> list[int]:
        return [sequence.id for sequence in self._scheduler.running]

    def _states(self) -> list[SlotState]:
        slots = self._scheduler.slots
        running = self._scheduler.running
        busy = [SlotState(s.slot, s.computed, s.id, s.prompt_length, s.cached) for s in running if s.slot is not None]
        idle = [SlotState(slot, len(held), offloaded=slots.is_offloaded(slot)) for slot, held, _ in slots.items()]
        return sorted(busy + idle, key=lambda state: state.slot)
