"""Keeps one response while its client waits for it: it is in the database when it begins, and before its end is told.

begin → keep, by its renderer → kept
      → fail or leave, where it has no answer
"""

import asyncio
from collections.abc import Mapping, Sequence

from nitro.api.responses.asked import Lasting
from nitro.api.responses.keeping import KeepableRenderer, Keeping, KeptResponse, new_id
from nitro.api.responses.memory import Remembered, told
from nitro.api.responses.usage import error_of
from nitro.errors import ApiError, StateError
from nitro.service.events import Event, Started
from nitro.service.failures import as_api_error
from nitro.service.renderer import Answer
from nitro.state import responses
from nitro.state.responses import NewResponse
from nitro.state.store import Store


class Keeper:
    """One response."""

    def __init__(self, store: Store, asked: Lasting, remembered: Remembered, owner: str = ""):
        """`owner`: whose it is, see users.owner_of."""
        self._store = store
        self._asked = asked
        self._remembered = remembered
        self._user = owner
        self._begun: KeptResponse | None = None
        self._ending: asyncio.Future[bool] | None = None
        self.keeping = Keeping(id=new_id("resp"), store=True, keep=self._keep)

    @property
    def ending(self) -> bool:
        """Whether it has ended, and is on its way into the database."""
        return self._ending is not None

    async def begin(self, renderer: KeepableRenderer, started: Started) -> None:
        """Raises ApiError, StateError."""
        begun = renderer.begun()
        new = NewResponse(
            id=begun.id,
            created=started.created,
            status=begun.status,
            body=begun.body,
            model=started.model,
            input=renderer.input_items,
            previous=self._asked.previous,
            conversation=self._asked.conversation,
            changes=self._remembered.changes,
            owner=await self._store.owner(),
            user=self._user,
        )
        self._begun = begun  # before it is in the database: who is cancelled meanwhile ends it there
        try:
            with told():
                await self._store.write(lambda db: responses.begin(db, new))
        except Exception:
            self._begun = None  # nothing has begun
            raise

    def _keep(self, response: KeptResponse) -> None:
        self._end(response.status, response.body)

    async def kept(self) -> None:
        """Return once the ended response is in the database. Raises StateError."""
        if self._ending:
            await asyncio.shield(self._ending)

    def fail(self, error: Exception) -> None:
        """It has no answer for this reason."""
        if self._begun:
            failed = error_of(as_api_error(error))
            self._end("failed", responses.changed(self._begun.body, status="failed", error=failed))

    def leave(self) -> None:
        """Nobody waits for it any more. It may be called again, and after its end."""
        if self._begun and not self._ending:
            self._end("cancelled", responses.changed(self._begun.body, status="cancelled"))

    def _end(self, status: str, body: bytes) -> None:
        if self._ending is None:
            id = self.keeping.id
            self._ending = self._store.begin_write(lambda db: responses.end(db, id, status, body))
            self._ending.add_done_callback(self._ended)

    def _ended(self, ending: "asyncio.Future[bool]") -> None:
        """Where it could not be kept, it has failed, which is kept as soon as that is possible."""
        error = None if ending.cancelled() else ending.exception()
        if isinstance(error, StateError) and self._begun:
            id, failed = self.keeping.id, error_of(as_api_error(error))
            body = responses.changed(self._begun.body, status="failed", error=failed)
            self._store.owe(lambda db: responses.end(db, id, "failed", body))


class WithheldEnd:
    """A renderer of a stream whose end is told when it is kept: see KeepableRenderer."""

    def __init__(self, renderer: KeepableRenderer, keeper: Keeper):
        self.media_type: str = renderer.media_type
        self.headers: Mapping[str, str] = renderer.headers
        self._renderer = renderer
        self._keeper = keeper
        self._held = b""

    def opening(self) -> bytes:
        """See Renderer."""
        return self._renderer.opening()

    def events(self, burst: Sequence[Event]) -> bytes:
        """Nothing, where the last event is among them."""
        data = self._renderer.events(burst)
        return self._hold(data) if self._keeper.ending else data

    def idle(self) -> bytes:
        """See Renderer."""
        return self._renderer.idle()

    def error(self, error: ApiError) -> bytes:
        """Nothing yet."""
        return self._hold(self._renderer.error(error))

    def closing(self) -> bytes:
        """Nothing yet."""
        return self._hold(self._renderer.closing())

    def whole(self, answer: Answer) -> bytes:
        """See Renderer."""
        return self._renderer.whole(answer)

    def _hold(self, data: bytes) -> bytes:
        self._held += data
        return b""

    async def last(self) -> bytes:
        """What was held back, once the response is kept. If it cannot be kept, its end is that error."""
        try:
            await self._keeper.kept()
            return self._held
        except StateError as error:
            *before, _ = self._held.split(b"\n\n")[:-1]
            return b"".join(frame + b"\n\n" for frame in before) + self._renderer.error(as_api_error(error))
