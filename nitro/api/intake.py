"""Where requests are read: in processes of their own, so that no body and no chat template can hold the event loop.

There are two lanes, each a process that reads one request after another: one for what is small, always there, and one
for what is large, started when such a request comes and ended when none has come for a while. So a body of megabytes
waits for others of its kind only. A request may take so much of the processor; then the kernel ends the process, the
request is refused, and the next one gets a new process.
"""

import asyncio
import contextlib
import logging
import signal
from typing import NamedTuple

from nitro.api import prepared
from nitro.api.prepared import Broken, Check, FromIntake, Phase, Prepared, Read, Refusal, Route, Sound, Use
from nitro.child import ChildProcess
from nitro.errors import ApiError, EngineBusy, NitroError, TemplateError
from nitro.models.setup import Setup

log = logging.getLogger("nitro.api")

WORKER = "nitro.api.intake_worker"
SMALL = 256 * 2**10  # bytes of a body
SECONDS = 2.0  # of the processor for a request, and
SECONDS_A_MIB = 0.5  # more for what it holds
WALL = 10  # times as long by the clock, where the machine is busy
IDLE = 60.0  # seconds without a large request
MOST_HELD = 256 * 2**20  # bytes of bodies that wait to be read


class Intake:
    """The lanes of one server. Every method belongs to the event loop."""

    def __init__(self, seconds: float = SECONDS):
        """`seconds` of the processor for a small request."""
        self._seconds = seconds
        self._small, self._large = _Lane(idle=None), _Lane(idle=IDLE)
        self._held = 0

    async def read(self, setup: Setup, route: Route, body: bytes, strict: bool = False) -> Prepared:
        """Raises ApiError, TemplateError, PromptTooLong or PromptRejected where the request is at fault, EngineBusy
        where too many large ones wait."""
        if self._held and self._held + len(body) > MOST_HELD:
            raise EngineBusy(f"Requests of {self._held} bytes wait to be read, and no more may queue.")
        seconds = self._seconds + SECONDS_A_MIB * len(body) / 2**20
        lane = self._small if len(body) <= SMALL else self._large
        self._held += len(body)
        try:
            answer = await lane.ask(setup, Read(route, seconds, strict), body)
        finally:
            self._held -= len(body)
        assert isinstance(answer, Prepared)
        return answer

    async def check(self, template: str) -> None:
        """Raises TemplateError where it is no chat template."""
        answer = await self._small.ask(None, Check(template, self._seconds))
        assert isinstance(answer, Sound)

    def start(self) -> None:
        """Start the process for small requests before the first one comes."""
        self._small.start()

    async def close(self) -> None:
        await self._small.close()
        await self._large.close()


class _Ask(NamedTuple):
    setup: Setup | None
    message: Read | Check
    body: bytes | None


class _Lane:
    """One process at a time, and those who wait for it. `idle`: seconds without work before it ends; None: it stays."""

    def __init__(self, idle: float | None):
        self._idle = idle
        self._waiting: asyncio.Queue[tuple[_Ask, asyncio.Future[FromIntake]]] = asyncio.Queue()
        self._process: _Process | None = None
        self._worker: asyncio.Task[None] | None = None
        self._hopeless: Setup | None = None  # its chat template cannot even be compiled

    def start(self) -> None:
        self._worker = self._worker or asyncio.create_task(self._work(), name="intake")

    async def ask(self, setup: Setup | None, message: Read | Check, body: bytes | None = None) -> FromIntake:
        """The answer. Raises what it was refused with."""
        self.start()
        answer: asyncio.Future[FromIntake] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((_Ask(setup, message, body), answer))
        return await answer

    async def close(self) -> None:
        if self._worker:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        await self._end()

    async def _work(self) -> None:
        if self._idle is None:
            with contextlib.suppress(OSError):  # the first request tells
                self._process = await _Process.spawn(WORKER)
        while True:
            try:
                patience = self._idle if self._process else None
                ask, answer = await asyncio.wait_for(self._waiting.get(), patience)
            except TimeoutError:
                await self._end()
                continue
            if answer.done():
                continue  # its client has left
            try:
                found = await self._asked(ask)
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(found)

    async def _asked(self, ask: _Ask) -> FromIntake:
        if ask.setup and self._hopeless is ask.setup:
            raise TemplateError("The chat template takes too long to compile.")
        if self._process and self._process.status is not None:
            await self._end()
        try:
            self._process = self._process or await _Process.spawn(WORKER)
            answer = await self._process.ask(ask)
        except OSError as error:
            raise EngineBusy(f"No process can be had to read the request: {error}.") from None
        except _Ended as end:
            await self._end()
            if end.phase == "compiling":
                self._hopeless = ask.setup
            raise _fault(end, ask.message) from None
        if isinstance(answer, Refusal):
            if isinstance(answer, Broken):
                log.error("a request could not be read\n%s", answer.trace)
            raise prepared.raised(answer)
        return answer

    async def _end(self) -> None:
        """It may be cancelled, and called again."""
        if process := self._process:
            process.kill()
            await process.reap()
        self._process = None


class _Process(ChildProcess):
    """A process that reads requests, and the model it has been told of."""

    name = "process that read it"
    _setup: Setup | None = None

    async def ask(self, ask: _Ask) -> FromIntake:
        """Raises _Ended where no answer comes."""
        if ask.setup and ask.setup is not self._setup:
            self.send(Use(ask.setup))
            self._setup = ask.setup
        self.send(ask.message, ask.body)
        phase = None
        try:
            async with asyncio.timeout(WALL * ask.message.seconds):
                async for payload in self.payloads():
                    answer: FromIntake = prepared.decode_from_intake(payload)
                    if not isinstance(answer, Phase):
                        return answer
                    phase = answer.name
        except TimeoutError:
            raise _Ended(phase, None) from None
        raise _Ended(phase, await self.how_it_ended(), slow=self.status == -signal.SIGPROF)


class _Ended(Exception):
    """A process ended, or was too slow, before it answered. `phase`: what it had begun with the chat template."""

    def __init__(self, phase: str | None, how: str | None, slow: bool = True):
        self.phase, self.how, self.slow = phase, how, slow


def _fault(end: _Ended, message: Read | Check) -> NitroError:
    """What its client is told."""
    if not end.slow:
        log.error("a request could not be read. %s", end.how)
        return ApiError(503, f"The request could not be read. {end.how}", type="server_error")
    limit = f"more than {message.seconds:.3g} seconds of computing"
    if end.phase:
        return TemplateError(f"The chat template takes {limit}, and was stopped ({end.phase}).")
    return ApiError(400, f"The request takes {limit} to read.")
