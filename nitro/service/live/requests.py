"""The requests of a server that are under way, and the last that have ended: to be told of, and to be aborted."""

from collections import Counter, deque
from itertools import islice
from typing import Protocol

from nitro.engines.client.generation import Generation
from nitro.service.live.state import LiveRequest, Phase

MAX_ENDED = 100  # that are remembered
MAX_TOLD = 200  # of those under way


class Underway(Protocol):
    """A request that has not ended."""

    id: str
    model: str  # its id; "-": it is not known yet

    @property
    def phase(self) -> Phase:
        """How far it is, as one word."""

    @property
    def generation(self) -> Generation | None:
        """What the engine does for it, once it has accepted it."""

    @property
    def state(self) -> LiveRequest:
        """How far it is."""

    def abort(self) -> None:
        """End it, whoever waits for it."""


class Requests:
    """Those of one server. Belongs to the event loop."""

    def __init__(self) -> None:
        self._open: dict[str, Underway] = {}
        self._ended: deque[LiveRequest] = deque(maxlen=MAX_ENDED)

    def begin(self, request: Underway) -> None:
        """It has come."""
        self._open[request.id] = request

    def end(self, request: Underway) -> None:
        """It has ended."""
        if self._open.pop(request.id, None):
            self._ended.append(request.state)

    def abort(self, id: str) -> bool:
        """End a request, whose client gets an error. Returns whether there was one."""
        if request := self._open.get(id):
            request.abort()
        return request is not None

    @property
    def names(self) -> dict[Generation, str]:
        """The ids of those that an engine has accepted."""
        return {generation: id for id, request in self._open.items() if (generation := request.generation)}

    def phases(self) -> Counter[tuple[str, Phase]]:
        """How many are under way, by model and phase."""
        return Counter((request.model, request.phase) for request in self._open.values())

    def states(self) -> list[LiveRequest]:
        """The last that have ended, and the oldest of those under way."""
        return [*self._ended, *(request.state for request in islice(self._open.values(), MAX_TOLD))]
