"""Responses in the background: queued in the database, computed one after another, whoever listens.

    create    read (its faults are HTTP errors), queued in the database, answered
    run       as soon as one of `places` is free; its events go into the database before anybody is sent them
    recover   what servers that ended have left: see state/recovery.py

A response is known by its id alone until its turn comes: a queue of large requests takes no memory.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from nitro.api import readers, sse, users
from nitro.api.responses.asked import Lasting
from nitro.api.responses.keeping import KeepableRenderer, Keeping, KeptResponse, MakeKeepable, new_id
from nitro.api.responses.memory import Memory, Remembered, told
from nitro.api.responses.usage import error_of
from nitro.errors import ApiError, NitroError, StateError
from nitro.keys import refusals
from nitro.keys.ring import KeyRing
from nitro.models.pool import Pool
from nitro.service import delivery
from nitro.service.disconnects import ClientDisconnected, unless_disconnected
from nitro.service.events import Started
from nitro.service.failures import as_api_error
from nitro.service.generation import GenerationService, GenerationStream, Read
from nitro.service.intake.messages import Prepared
from nitro.service.requests import Principal, RawRequest
from nitro.state import recovery, responses
from nitro.state.recovery import RESTARTS
from nitro.state.responses import NewResponse, Queued
from nitro.state.store import Store

log = logging.getLogger("nitro.api")

LOOK_AGAIN = 1.0  # seconds: a response may run on another server of the same folder
TRY_AGAIN = 2.0  # seconds, after a fault that may pass
RECOVER_EVERY = 600.0  # seconds
PATH = "/v1/responses"
BACKGROUND = "background"  # the user that responses without a key share the engine as, together
ROUTE = "/v1/responses"


class ReadRequest(NamedTuple):
    """A request that may begin. `started`: as it would be now; nothing is known of its tokens."""

    started: Started
    streamed: bool
    reply_options: bytes
    ignored: list[str]


async def _read(read: Read) -> ReadRequest:
    prepared, model = read.prepared, read.model
    assert isinstance(prepared, Prepared)
    started = Started(model.source.id, model.fingerprint(read.info), int(time.time()), 1, 0)
    return ReadRequest(started, prepared.streamed, prepared.reply_options, prepared.ignored)


class Background:
    """The responses in the background of one server. Belongs to the event loop."""

    def __init__(
        self,
        memory: Memory,
        service: GenerationService,
        models: Pool,
        renderer: MakeKeepable,
        places: int,
        keys: KeyRing | None = None,
    ):
        """`places`: how many run at once. `keys`: whose owners some of them are for."""
        self._keys = keys
        self.memory = memory
        self._service = service
        self._models = models
        self._renderer = renderer
        self._free = places
        self._waiting: deque[str] = deque()
        self._running: dict[str, Principal] = {}
        self._news: dict[str, set[asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovering: asyncio.Task[None] | None = None
        self._drains = self._stopped = False

    def start(self) -> None:
        """Take up what was left."""
        if not self.memory.off:
            self._recovering = self._begin(self._recover())

    def drain(self) -> None:
        """Begin nothing more that nobody waits for: the next server takes it up. What has begun goes on, since clients
        may have seen some of it."""
        self._drains = True
        if self._recovering:
            self._recovering.cancel()

    async def finished(self) -> None:
        """After `drain`: once what has begun has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """What runs is given up, before anything else of the server ends; the next one takes it up."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Once that is done."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def create(
        self, raw: RawRequest, body: bytes, asked: Lasting, remembered: Remembered, principal: Principal
    ) -> tuple[str, bytes, ReadRequest]:
        """Queue one: its id, and itself. Raises ApiError, StateError, ClientDisconnected."""
        store = self.memory.store
        owner = await store.owner()
        request = await self._service.answer(raw, principal, _read)
        id = new_id("resp")
        keeping = Keeping(id=id, store=True, background=True)
        renderer = self._renderer(request.started, request.reply_options, keeping)
        queued, told_so = renderer.queued()
        new = NewResponse(
            id=id,
            created=request.started.created,
            status=queued.status,
            body=queued.body,
            model=request.started.model,
            input=renderer.input_items,
            previous=asked.previous,
            conversation=asked.conversation,
            changes=remembered.changes,
            background=True,
            streamed=request.streamed,
            owner=owner,
            request=body,
            history=remembered.history,
            user=principal.user if users.key_named(principal.user) else "",
            events=_numbered(told_so, 0) if request.streamed else (),
        )
        with told():
            await store.write(lambda db: responses.begin(db, new))
        self._enqueue(id)
        return id, queued.body, request

    async def cancel(self, id: str, sees: str | None = None) -> bytes:
        """The response, which is cancelled unless it has ended. `sees`: see users.sees_of. Raises ApiError,
        StateError."""

        def work(db: Any) -> bytes:
            found = responses.get(db, id, sees)
            if not found.background:
                raise ApiError(400, "Only a response in the background can be cancelled.", param="response_id")
            if found.ended:
                return found.body
            body = responses.changed(found.body, status="cancelled")
            responses.end(db, id, "cancelled", body, _last(db, id, "incomplete", body) if found.streamed else [])
            return body

        with told():
            body = await self.memory.store.write(work)
        self.give_up(id)
        return body

    def give_up(self, id: str) -> None:
        """Nobody wants it any more."""
        if (principal := self._running.get(id)) and not principal.left.done():
            principal.left.set_result(None)
        self._tell(id)

    async def follow(self, id: str, after: int) -> AsyncGenerator[bytes, None]:
        """The frames of its events behind a sequence number, until its last. Raises StateError, and NotThere where it
        was deleted."""
        sent = asyncio.get_running_loop().time()
        while True:
            news = self._listen(id)
            try:
                frames, last = await self.memory.store.read(partial(responses.events_after, id=id, number=after))
                if frames:
                    after = frames[-1][0]
                    yield b"".join(frame for _, frame in frames)
                    sent = asyncio.get_running_loop().time()
                if last:
                    return
                if not frames:
                    await asyncio.wait((news,), timeout=LOOK_AGAIN)
                    if asyncio.get_running_loop().time() - sent > delivery.SILENCE:
                        yield sse.KEEPALIVE
                        sent = asyncio.get_running_loop().time()
            finally:
                self._ignore(id, news)

    # Who listens

    def _listen(self, id: str) -> "asyncio.Future[None]":
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.setdefault(id, set()).add(news)
        return news

    def _ignore(self, id: str, news: "asyncio.Future[None]") -> None:
        if (listening := self._news.get(id)) is not None:
            listening.discard(news)
            if not listening:
                del self._news[id]

    def _tell(self, id: str) -> None:
        for news in self._news.get(id, ()):
            if not news.done():
                news.set_result(None)

    # The queue

    def _enqueue(self, id: str) -> None:
        self._waiting.append(id)
        while self._free and self._waiting and not self._stopped:
            self._free -= 1
            self._begin(self._work())

    def _begin(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name="background")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("responses in the background stopped", exc_info=error)

    async def _work(self) -> None:
        """Compute what waits, then leave the place."""
        try:
            while (id := self._next()) is not None:
                left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._running[id] = Principal(id, left, BACKGROUND, route=ROUTE)
                try:
                    await _Run(self, self.memory.store, id, self._running[id]).run()
                finally:
                    del self._running[id]
                    self._tell(id)
        finally:
            self._free += 1

    def _next(self) -> str | None:
        """The next one that waits and may begin."""
        while self._waiting:
            id = self._waiting.popleft()
            if not self._drains or id in self._news:
                return id
        return None

    async def _recover(self) -> None:
        """Now, and from time to time: another server of the same folder may end."""
        while True:
            try:
                await self._take_up()
            except StateError as error:
                log.error("what was kept cannot be taken up: %s", error)
            await asyncio.sleep(RECOVER_EVERY)

    async def _take_up(self) -> None:
        store = self.memory.store
        await store.recover()
        for id, model in await store.unclaimed():
            if await self._offers(model) and await store.claim(id):
                self._enqueue(id)

    async def _offers(self, model: str) -> bool:
        default = self._models.default
        if default and default.source.id == model:
            return True
        if not self._models.by_name:
            return False
        try:
            return (await self._models.find(model)).id == model
        except NitroError:
            return False

    # For a run

    def renderer(self, stream: GenerationStream, keeping: Keeping) -> KeepableRenderer:
        """Of one that begins."""
        return self._renderer(stream.started, stream.reply_options, keeping)

    async def generate(self, raw: RawRequest, principal: Principal) -> GenerationStream:
        """See GenerationService."""
        return await self._service.generate(raw, principal)

    def principal(self, principal: Principal, user: str) -> Principal:
        """The same for this user: of a key, it has the key's rights and counts as its. Raises ApiError 401 where that
        key holds no more, and 403 where it may not ask for responses any more."""
        name = users.key_named(user)
        if name is None:
            return replace(principal, user=user or BACKGROUND)
        account = self._keys.named(name) if self._keys else None
        if account is None:
            raise refusals.gone(name)
        if not account.key.has_route("POST", PATH):  # it had it when the response was asked for
            raise refusals.no_route(name, f"POST {PATH}")
        return replace(principal, user=user, rights=account.key, use=account.resume())

    def tell(self, id: str) -> None:
        """There are new events, or it has ended."""
        self._tell(id)


class _Run:
    """One response being computed."""

    def __init__(self, background: Background, store: Store, id: str, principal: Principal):
        self._background = background
        self._store = store
        self._id = id
        self._principal = principal
        self._kept: KeptResponse | None = None
        self._number = 0  # of the next frame

    async def run(self) -> None:
        """Until it has ended in the database, or is somebody else's. A fault of the database is waited out."""
        with contextlib.suppress(ClientDisconnected):
            queued = await self._surely(lambda db: responses.queued(db, self._id))
            if queued is None:
                return
            principal = self._principal
            try:
                principal = self._background.principal(principal, queued.user)
                await self._begin(queued, principal)
            except NitroError as error:
                log.error("%s stops: %s", self._id, error)
                await self._fail(queued, as_api_error(error))
            except ClientDisconnected:
                raise
            except Exception as error:
                log.error("a response in the background failed", exc_info=error)
                await self._fail(queued, as_api_error(error))
            finally:
                if principal.use:
                    principal.use.end()

    async def _begin(self, queued: Queued, principal: Principal) -> None:
        stream = await self._stream(queued, principal)
        try:
            if stream.started.model != queued.model:
                raise ApiError(404, f"The model '{queued.model}' is not served any more.", code="model_not_found")
            await self._compute(queued, stream)
        finally:
            stream.release()

    async def _stream(self, queued: Queued, principal: Principal) -> GenerationStream:
        """Its generation. Where there is no room, or no engine yet, it waits on."""
        while True:
            pieces = [queued.request]

            async def body(pieces: list[bytes] = pieces) -> list[bytes]:
                return [pieces.pop()]

            raw = RawRequest(readers.RESPONSE, body, "input", namer=readers.RESPONSE_NAME, history=queued.history)
            try:
                return await self._background.generate(raw, principal)
            except ApiError as error:
                if error.retry_after is None:
                    raise
                await self._pause(error.retry_after)

    async def _compute(self, queued: Queued, stream: GenerationStream) -> None:
        self._number = queued.number
        keeping = Keeping(
            id=self._id,
            store=True,
            background=True,
            created=queued.created,
            number=queued.number,
            keep=self._keep,
        )
        renderer = self._background.renderer(stream, keeping)
        body = self._marked(queued, renderer.begun().body)
        if not await self._surely(lambda db: responses.run(db, self._id, body)):
            return
        data = stream.opening(renderer)
        while True:
            frames = _numbered(data, self._number) if queued.streamed else []
            self._number += len(frames)
            if stream.ended:
                break
            if frames and not await self._surely(partial(responses.add_events, id=self._id, frames=frames)):
                return
            self._background.tell(self._id)
            data = stream.render(renderer, await self._next(stream))
        assert self._kept
        status, body = self._kept.status, self._marked(queued, self._kept.body)
        await self._surely(lambda db: responses.end(db, self._id, status, body, frames))

    async def _next(self, stream: GenerationStream) -> list[Any]:
        """Its next burst. Raises ClientDisconnected where it is cancelled."""
        return await unless_disconnected(self._principal, stream.next()) or []

    def _keep(self, response: KeptResponse) -> None:
        self._kept = response

    @staticmethod
    def _marked(queued: Queued, body: bytes) -> bytes:
        """The object tells that it is computed again."""
        return responses.changed(body, **{RESTARTS: queued.runs}) if queued.runs else body

    async def _fail(self, queued: Queued, error: ApiError) -> None:
        body = responses.changed(queued.body, status="failed", error=error_of(error))

        def work(db: Any) -> bool:
            frames = _last(db, self._id, "failed", body) if queued.streamed else []
            return responses.end(db, self._id, "failed", body, frames)

        await self._surely(work)

    async def _surely(self, job: Callable[[Any], Any]) -> Any:
        """What the database says, as soon as it can be written."""
        while True:
            try:
                return await self._store.write(job)
            except StateError as error:
                log.error("%s waits: %s", self._id, error)
                await self._pause(TRY_AGAIN)

    async def _pause(self, seconds: float) -> None:
        """Or until it is cancelled."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._principal.left), seconds)
            raise ClientDisconnected


def _numbered(data: bytes, first: int) -> list[tuple[int, bytes]]:
    """Each frame with its number."""
    return list(enumerate((frame + b"\n\n" for frame in data.split(b"\n\n") if frame), first))


def _last(db: Any, id: str, status: str, body: bytes) -> list[tuple[int, bytes]]:
    """The event by which a stream ends that no renderer ends: behind those that are kept."""
    return [recovery.terminal(responses.last_number(db, id) + 1, status, body)]
