"""What an engine does before it ends: one that keeps prefixes in files writes what its slots hold."""

import asyncio
import contextlib
from collections.abc import Callable

from nitro.engines import messages
from nitro.system.frames import WireMessage

SECONDS = 20.0  # that it may take
GRACE = 5.0  # seconds more until it is not waited for: a step that is under way ends first


class LastSave:
    """Of one engine. Belongs to the event loop."""

    def __init__(self, send: Callable[[WireMessage], None], active: bool):
        """`active`: whether it keeps any."""
        self._send, self._active = send, active
        self._loaded = False
        self._done: asyncio.Future[None] | None = None

    def begun(self) -> None:
        """A process has loaded the model."""
        self._loaded = True

    def ended(self) -> None:
        """The process has ended."""
        self._loaded = False
        self.saved()

    def saved(self, _: messages.Saved | None = None) -> None:
        """All is written."""
        if self._done and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> None:
        """Have it done, if there is anything to do, and wait for it."""
        if self._active and self._loaded:
            self._done = asyncio.get_running_loop().create_future()
            self._send(messages.Save(SECONDS))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done, SECONDS + GRACE)
            self._loaded = False
