"""Tells whoever listens what the server is doing: a snapshot, then changes, at most four a second.

    Feed ─► Listener ─► a client that reads as fast as it can: one that is slower misses changes, and gets a snapshot

While nobody listens no timer runs, and the engines are told so.
"""

import asyncio
import time
from typing import Any

from nitro.service.live.requests import Requests
from nitro.service.live.state import Change, LiveModel, LiveRequest, Snapshot
from nitro.service.live.watches import Watches

EVERY = 0.25  # seconds between two changes

Event = Snapshot | Change


class Listener:
    """One who listens, until `close`. As an async iterator: events; None where there was none for `silence` seconds."""

    def __init__(self, feed: "Feed", silence: float):
        self._feed = feed
        self._silence = silence
        self._event: Event | None = None
        self._behind = False  # it has not taken the event before this one
        self._ended = False
        self._news = asyncio.Event()

    def tell(self, event: Event) -> None:
        """There is an event."""
        self._behind = self._behind or self._event is not None
        self._event = event
        self._news.set()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._news.set()

    def close(self) -> None:
        """It listens no more. It may be called again."""
        self._feed.leave(self)

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> Event | None:
        if not self._news.is_set():
            try:
                await asyncio.wait_for(self._news.wait(), self._silence)
            except TimeoutError:
                return None
        event, self._event = self._event, None
        if event is None or self._ended:
            raise StopAsyncIteration
        self._news.clear()
        behind, self._behind = self._behind, False
        return self._feed.snapshot() if behind else event


class Feed:
    """That of one server. Belongs to the event loop."""

    def __init__(self, watches: Watches, requests: Requests, version: str):
        self._watches = watches
        self._requests = requests
        self._version = version
        self._listeners: set[Listener] = set()
        self._models: list[LiveModel] = []  # as they were told last
        self._told: dict[str, LiveRequest] = {}  # the same of requests, by id
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def listen(self, silence: float) -> Listener:
        """Begin to listen. See Listener."""
        listener = Listener(self, silence)
        if self._stopped:
            listener.end()
            return listener
        if not self._listeners:
            self._look()
            self._plan()
        self._listeners.add(listener)
        listener.tell(self.snapshot())
        return listener

    def leave(self, listener: Listener) -> None:
        """This one listens no more."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._rest()

    def abort(self, id: str) -> bool:
        """See Requests."""
        return self._requests.abort(id)

    def stop(self) -> None:
        """The server stops: nobody is told any more."""
        self._stopped = True
        for listener in self._listeners:
            listener.end()
        self._listeners.clear()
        self._rest()

    def snapshot(self) -> Snapshot:
        """How things stood at the last look."""
        return Snapshot(
            time=time.time(),
            version=self._version,
            memory=self._watches.memory,
            models=self._models,
            requests=list(self._told.values()),
        )

    def _rest(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._watches.end()
        self._models, self._told = [], {}

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._tick)

    def _tick(self) -> None:
        self._plan()
        changed = self._look()
        if changed:
            change = Change(time=time.time(), **changed)
            for listener in self._listeners:
                listener.tell(change)

    def _look(self) -> dict[str, Any]:
        """Note how things stand. Returns what is otherwise than before, by the fields of Change."""
        changed: dict[str, Any] = {}
        models = self._watches.models(self._requests.names)
        if models != self._models:
            self._models = changed["models"] = models
        states = {state.id: state for state in self._requests.states()}
        if news := [state for id, state in states.items() if self._told.get(id) != state]:
            changed["requests"] = news
        self._told = states
        return changed
