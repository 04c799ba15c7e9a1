"""Messages on their way to the server, in order."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable

from nitro.system.frames import WireMessage


class Outbox:
    """Any thread puts messages in; the writer takes them out."""

    def __init__(self) -> None:
        self.send: Callable[..., None] = self.put  # messages, at once if possible: the writer knows a shorter way
        self._messages: deque[WireMessage] = deque()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def put(self, *messages: WireMessage) -> None:
        """Leave them to the writer."""
        for message in messages:
            self._messages.append(message)
            self.wake()

    def wake(self) -> None:
        """Have the writer look."""
        self._wakes.put(None)

    def wait(self, timeout: float | None = None) -> None:
        """Until there was a `wake` for each `wait`. Raises queue.Empty after `timeout` seconds."""
        self._wakes.get(timeout=timeout)

    def empty(self) -> bool:
        """Whether there is no message."""
        return not self._messages

    def take(self, most: int) -> list[WireMessage]:
        """The oldest messages; none where there are none."""
        return [self._messages.popleft() for _ in range(min(len(self._messages), most))]

    def get(self, timeout: float | None = None) -> WireMessage:
        """The oldest message, which is waited for. Raises queue.Empty after `timeout` seconds."""
        self.wait(timeout)
        return self._messages.popleft()
