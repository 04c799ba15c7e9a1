"""The adapters that the engine has: loaded and freed between two steps. Belongs to the engine thread.

One that is dropped is freed once the last sequence has ended that applies it; until then those that were made ready
before may still begin.
"""

import logging
from collections.abc import Iterable

from nitro.engines import messages
from nitro.engines.adapters import AdapterSet
from nitro.engines.runner import LoadError, ModelRunner
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.worker.jobs import brief
from nitro.engines.worker.outbox import Outbox

log = logging.getLogger("nitro.engine")


class AdapterShelf:
    """Those of one runner."""

    def __init__(self, runner: ModelRunner, outbox: Outbox):
        self._runner = runner
        self._outbox = outbox
        self._there = {info.id for info in runner.info.adapters}
        self._leaving: dict[int, messages.DropAdapter] = {}  # by adapter

    def has(self, adapters: AdapterSet) -> bool:
        """Whether all of these are there."""
        return all(id in self._there for id, _ in adapters)

    def load(self, message: messages.LoadAdapter) -> None:
        """Load one, and answer."""
        try:
            info = self._runner.load_adapter(message.source)
        except LoadError as error:
            self._outbox.put(messages.Rejected(message.id, str(error)))
        except Exception as error:  # a library stumbles over a damaged file
            log.exception("an adapter could not be loaded")
            problem = f"{message.source.path} cannot be loaded: {brief(error)}"
            self._outbox.put(messages.Rejected(message.id, problem))
        else:
            self._there.add(info.id)
            self._outbox.put(messages.AdapterLoaded(message.id, info))

    def drop(self, message: messages.DropAdapter) -> None:
        """Free one as soon as that can be."""
        if message.adapter in self._there:
            self._leaving[message.adapter] = message
        else:
            self._outbox.put(messages.AdapterDropped(message.id))

    def free(self, sequences: Iterable[Sequence]) -> None:
        """Free what was dropped, and none of these applies; answer then."""
        if not self._leaving:
            return
        applied = {id for sequence in sequences for id, _ in sequence.adapters}
        for adapter in self._leaving.keys() - applied:
            message = self._leaving.pop(adapter)
            self._runner.drop_adapter(adapter)
            self._there.discard(adapter)
            self._outbox.put(messages.AdapterDropped(message.id))
