"""Requests are read in processes of their own, so that no body and no chat template can block the event loop.

There are two lanes. Each has one process, which reads one request after another. The lane for small requests always has
its process. The lane for large ones starts its process when such a request comes, and ends it when none has come for a
while. So a body of megabytes waits only for others of its kind. A request has a limit of processor time; beyond it the
kernel ends the process, the request is refused, and the next request gets a new process.
"""

import asyncio
import contextlib
import logging
import subprocess
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from msgspec.structs import replace

from nitro.errors import ApiError, EngineBusy, NitroError, TemplateError
from nitro.models.setup import ModelSetup
from nitro.service.asked import Asked
from nitro.service.failures import RETRY_AFTER
from nitro.service.intake import messages, spawn
from nitro.service.intake.messages import (
    MAX_SETUPS,
    READ_TIMEOUT,
    RENDER_TIMEOUT,
    Check,
    Compiling,
    FromIntake,
    IntakeBug,
    Name,
    Named,
    Prepared,
    PreparedEmbedding,
    Read,
    Refusal,
    Rendered,
    Use,
    Valid,
    Wants,
)
from nitro.service.media.limits import DEFAULT_LIMITS, MediaLimits
from nitro.system.child_process import ChildProcess
from nitro.system.frame_connection import FrameConnection
from nitro.system.spawn import Spawned

log = logging.getLogger("nitro.api")

MAX_SMALL = 256 * 2**10  # bytes of a body
SECONDS = 2.0  # processor time for a small request
SECONDS_A_MIB = 0.5  # more, for each MiB of a body
WALL_CLOCK_FACTOR = 10  # so much longer by the clock: the machine may be busy
IDLE = 60.0  # seconds without a large request
MAX_HELD = 256 * 2**20  # bytes of bodies that wait to be read, in each lane


class Intake:
    """The lanes of one server. Every method belongs to the event loop."""

    def __init__(
        self,
        seconds: float = SECONDS,
        readers: Sequence[str] = (),
        first: Spawned | None = None,
        media: MediaLimits = DEFAULT_LIMITS,
        memory: int = spawn.MEMORY,
    ):
        """`seconds`: processor time for a small request. `readers`: those that every process imports before its first
        request, as "module:function"; any other is imported when it is needed. `first`: a process that has begun, for
        small requests. `media`: the limits of requests' images and sounds. `memory`: MiB of address space of each
        process."""
        self._seconds = seconds
        self._media = media
        self._small = _Lane(readers, idle=None, first=first, media=media, memory=memory)
        self._large = _Lane(readers, idle=IDLE, media=media, memory=memory)

    async def read(
        self,
        setup: ModelSetup,
        reader: str,
        body: list[bytes],
        strict: bool = False,
        found: bool = False,
        history: bytes | None = None,
        share: float = 1.0,
    ) -> Prepared:
        """Have a request read and made ready for the engine. `reader`, `found`, `share`: see Read. `body`: in pieces.
        `history`: see RawRequest.

        Raises ApiError, TemplateError, PromptTooLong or PromptRejected where the request is at fault, EngineBusy where
        too many of its size wait, or no process can be started.
        """
        answer = await self._read(setup, Read(reader, 0, strict, found=found, share=share), body, history)
        assert isinstance(answer, Prepared)
        return answer

    async def read_embedding(
        self, setup: ModelSetup, reader: str, body: list[bytes], strict: bool = False, found: bool = False
    ) -> PreparedEmbedding:
        """The same for a request of embeddings, whose `reader` is an EmbeddingReader's place."""
        answer = await self._read(setup, Read(reader, 0, strict, found=found), body)
        assert isinstance(answer, PreparedEmbedding)
        return answer

    async def render(
        self,
        setup: ModelSetup,
        reader: str,
        body: list[bytes],
        strict: bool = False,
        found: bool = False,
        history: bytes | None = None,
    ) -> Rendered:
        """The same, of its prompt alone."""
        answer = await self._read(setup, Read(reader, 0, strict, found=found, only_prompt=True), body, history)
        assert isinstance(answer, Rendered)
        return answer

    async def _read(self, setup: ModelSetup, read: Read, body: list[bytes], history: bytes | None = None) -> FromIntake:
        """The answer to a Read. What a request has by its address is fetched in between."""
        if history is not None:
            read = replace(read, history=len(history))
            body = [history, *body] if history else body
        lane, seconds = self._lane(body)
        answer = await lane.ask(setup, replace(read, seconds=seconds), body)
        if isinstance(answer, Wants):
            from nitro.service.media.remote import fetch  # few servers need it

            files = await fetch(answer.urls, self._media)
            before = [history] if history else []
            body = [*before, *files.values(), *body[len(before) :]]
            lane, seconds = self._lane(body)
            fetched = [(url, len(data)) for url, data in files.items()]
            answer = await lane.ask(setup, replace(read, seconds=seconds, fetched=fetched), body)
        return answer

    async def name(self, namer: str, body: list[bytes]) -> Asked:
        """Which model a request wants. `namer`: see Name. Raises ApiError and EngineBusy, as `read` does."""
        lane, seconds = self._lane(body)
        answer = await lane.ask(None, Name(namer, seconds), body)
        assert isinstance(answer, Named)
        return answer.asked

    def _lane(self, body: list[bytes]) -> "tuple[_Lane, float]":
        """Who reads a body, and in how many seconds of processor time. Raises EngineBusy."""
        size = sum(map(len, body))
        lane = self._small if size <= MAX_SMALL else self._large
        if lane.held and lane.held + size > MAX_HELD:
            raise EngineBusy(f"Requests of {lane.held} bytes wait to be read, and no more may queue.")
        return lane, self._seconds + SECONDS_A_MIB * size / 2**20

    async def check(self, template: str) -> None:
        """Raises TemplateError if it is not a chat template."""
        answer = await self._small.ask(None, Check(template, self._seconds))
        assert isinstance(answer, Valid)

    def start(self) -> None:
        """Start the process for small requests before the first one comes."""
        self._small.start()

    async def close(self) -> None:
        """End the processes. Requests that are being read are cancelled."""
        await self._small.close()
        await self._large.close()


class _Ask:
    """A message for a process, and the body that follows it, which is held until the answer is there."""

    def __init__(self, setup: ModelSetup | None, message: Read | Name | Check, body: list[bytes] | None):
        self.setup = setup
        self.message = message
        self.body = body
        self.size = sum(map(len, body or []))  # bytes that are held
        self.begun = False
        self.abandoned = False  # nobody waits for the answer any more


class _Lane:
    """One process at a time, and the requests that wait for it. `idle`: seconds without work after which the process
    ends; None: it stays. `first`: a process that has begun already."""

    def __init__(
        self,
        readers: Sequence[str],
        idle: float | None,
        first: Spawned | None = None,
        media: MediaLimits = DEFAULT_LIMITS,
        memory: int = spawn.MEMORY,
    ):
        self._readers = list(readers)
        self._memory = memory
        self._media = media
        self._idle = idle
        self.held = 0  # bytes of the bodies that wait to be read, or are being read
        self._turn = asyncio.Lock()  # who holds it has the process
        self._first = first
        self._process: _Process | None = None
        self._uncompilable: deque[ModelSetup] = deque(maxlen=MAX_SETUPS)  # the chat template takes too long to compile
        self._tasks: set[asyncio.Task[FromIntake | None]] = set()
        self._idle_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Have a process before the first request comes."""
        self._begin(self._started())

    async def ask(
        self, setup: ModelSetup | None, message: Read | Name | Check, body: list[bytes] | None = None
    ) -> FromIntake:
        """The answer. Raises what it was refused with.

        Where the client leaves, a body that waits is let go at once; what has begun goes on, and its answer is thrown
        away, since the next one's comes behind it.
        """
        ask = _Ask(setup, message, body)
        self.held += ask.size
        work = self._begin(self._in_turn(ask))
        work.add_done_callback(lambda _: self._let_go(ask))
        try:
            answer = await asyncio.shield(work)
        except asyncio.CancelledError:
            ask.abandoned = True
            if not ask.begun:
                self._let_go(ask)
            raise
        assert answer
        return answer

    def _let_go(self, ask: _Ask) -> None:
        self.held -= ask.size
        ask.size = 0
        ask.body = None

    async def close(self) -> None:
        if self._idle_timer:
            self._idle_timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._end()

    def _begin(self, work: Coroutine[Any, Any, FromIntake | None]) -> "asyncio.Task[FromIntake | None]":
        task = asyncio.create_task(work, name="intake")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[FromIntake | None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if its client has left

    async def _started(self) -> None:
        async with self._turn:
            with contextlib.suppress(OSError):  # the first request reports it
                await self._live_process()

    async def _in_turn(self, ask: _Ask) -> FromIntake | None:
        """None where nobody waits for the answer any more."""
        async with self._turn:
            if ask.abandoned:
                return None
            ask.begun = True
            if self._idle_timer:
                self._idle_timer.cancel()
            try:
                return await self._ask_process(ask)
            finally:
                self._start_idle_timer()

    async def _ask_process(self, ask: _Ask) -> FromIntake:
        if any(setup is ask.setup for setup in self._uncompilable):
            raise TemplateError("The chat template takes too long to compile.")
        if self._process and self._process.status is not None:
            await self._end()
        try:
            answer = await (await self._live_process()).ask(ask)
        except OSError as error:
            raise EngineBusy(f"No process can be had to read the request: {error}.") from None
        except _Ended as end:
            await self._end()
            if end.compiling and ask.setup:
                self._uncompilable.append(ask.setup)
            raise _fault(end, ask.message) from None
        if isinstance(answer, Refusal):
            if isinstance(answer, IntakeBug):
                log.error("a request could not be read\n%s", answer.trace)
            raise messages.raised(answer)
        return answer

    async def _live_process(self) -> "_Process":
        """Raises OSError where there is none to be had."""
        if self._process is None:
            spawned, self._first = self._first or spawn.start(self._readers, self._memory), None
            self._process = await _Process.attach(spawned)
            self._process.media = self._media
        return self._process

    def _start_idle_timer(self) -> None:
        if self._idle_timer:
            self._idle_timer.cancel()
        if self._idle is not None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(self._idle, lambda: self._begin(self._end_idle()))

    async def _end_idle(self) -> None:
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        """It may be cancelled, and called again."""
        if self._first:
            self._first.end()
        if process := self._process:
            process.kill()
            await process.reap()
        self._process = None


class _Process(ChildProcess):
    """A process that reads requests. It knows the models that were used last."""

    name = "process that read it"

    def __init__(self, process: subprocess.Popen[bytes], connection: FrameConnection):
        super().__init__(process, connection)
        self.media = DEFAULT_LIMITS
        self._setups: list[tuple[int, ModelSetup]] = []  # and their places, the one that was used last at the end

    async def ask(self, ask: _Ask) -> FromIntake:
        """Raises _Ended where no answer comes."""
        message = ask.message
        if isinstance(message, Read) and ask.setup and (place := self._place(ask.setup)):
            message = replace(message, place=place)
        self.send(message, ask.body)
        compiling = False
        try:
            async with asyncio.timeout(WALL_CLOCK_FACTOR * ask.message.seconds):
                while burst := await self.burst():
                    for payload in burst:
                        answer: FromIntake = messages.decode_from_intake(payload)
                        if not isinstance(answer, Compiling):
                            return answer
                        compiling = not answer.done
        except TimeoutError:
            raise _Ended(None, False) from None
        how = await self.how_it_ended()
        raise _Ended(how, compiling and self.status == -RENDER_TIMEOUT, self.status)

    def _place(self, setup: ModelSetup) -> int:
        """Where the process has this model, which it is told of if it does not know it."""
        setups = self._setups
        for index in range(len(setups) - 1, -1, -1):
            if setups[index][1] is setup:
                if index < len(setups) - 1:
                    setups.append(setups.pop(index))
                return setups[-1][0]
        place = len(setups) if len(setups) < MAX_SETUPS else setups.pop(0)[0]
        setups.append((place, setup))
        self.send(Use(place, setup, self.media))
        return place


class _Ended(Exception):
    """A process did not answer. `how` it ended; None: it was too slow by the clock, which may be the machine's fault.
    `compiling`: it exceeded its processor time while it compiled a chat template."""

    def __init__(self, how: str | None, compiling: bool, status: int | None = None):
        self.how, self.compiling, self.status = how, compiling, status


def _fault(end: _Ended, message: Read | Name | Check) -> NitroError:
    """The error that its client gets."""
    limit = f"more than {message.seconds:.3g} seconds of computing"
    if end.status == -RENDER_TIMEOUT:
        return TemplateError(f"The chat template takes {limit}, and was stopped.")
    if end.status == -READ_TIMEOUT:
        return ApiError(400, f"The request takes {limit} to read.")
    if end.how is None:
        seconds = WALL_CLOCK_FACTOR * message.seconds
        log.error("a request was not read within %.3g seconds; this machine may be too busy", seconds)
        why = f"The request was not read within {seconds:.3g} seconds."
        return ApiError(503, why, type="server_error", retry_after=RETRY_AFTER)
    log.error("a request could not be read. %s", end.how)
    return ApiError(503, f"The request could not be read. {end.how}", type="server_error")
