"""The batches of one server: whose lines are answered next, and what is done when they are.

    recover   take up what servers that have ended have left
    validate  read the file into lines to do; one that is wrong ends the batch
    answer    `places` lines at once, those of the oldest batch first; each is in the database before the next begins
    end       the files with what came of them can be fetched

A line whose reply is not in the database is answered again by the next server: it is never lost, and never there twice.
Lines do not travel through here before their turn: a batch takes the memory of `places` of them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from nitro.batches import line_form, output_line
from nitro.batches.output_line import Reply
from nitro.batches.run import Answer, Asking, Run
from nitro.batches.validation import Validation, told
from nitro.errors import StateError
from nitro.state import batch_lines, batches
from nitro.state.batch_lines import Line, Result
from nitro.state.batches import Batch, Work
from nitro.state.file_store import FileStore

log = logging.getLogger("nitro.batches")

TRY_AGAIN = 2.0  # seconds, after a fault of the database that may pass
RECOVER_EVERY = 600.0  # seconds
LOOK_AT_TIMES = 30.0  # seconds between two looks at what has expired
MOMENT = 0.002  # seconds: a change of the database takes a tenth of it, and holds up the event loop meanwhile
PATIENCE = 600.0  # seconds for which a line waits for an engine that does not come
MAX_RUNS = 20  # of a line: one that ends the server whenever it is begun would never end
MAX_DEATHS = 3  # of an engine at work on a line: it has been alone at the last
TOGETHER = 1000  # lines that expire in one change of the database


class Batches:
    """Belongs to the event loop."""

    def __init__(self, store: FileStore, serves: Callable[[str, str], Awaitable[bool]], places: int, longest: int):
        """`serves`: whether this server answers what one with this default model was asked to, in lines that ask for
        this model. `places`: lines that are under way at once.
        `longest`: bytes that a line may have."""
        self.store = store
        self._answer: Answer = _nobody
        self._serves = serves
        self._places = places
        self._longest = longest
        self._runs: dict[str, Run] = {}  # by id, in the order in which they were begun
        self._workers = 0
        self._taking = asyncio.Lock()
        self._validating = asyncio.Lock()
        self._suspects = asyncio.Lock()  # lines at which an engine has died are answered one by one
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def start(self, answer: Answer) -> None:
        """Take up what was left. `answer`: has a line answered."""
        self._answer = answer
        self._begin(self._recover())
        self._begin(self._watch_times())

    def stop(self) -> None:
        """What is under way is given up, before anything else of the server ends; the next one takes it up."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Once that is done."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def lines_under_way(self) -> int:
        """Lines that are being answered here."""
        return sum(len(run.under_way) for run in self._runs.values())

    async def add(self, id: str) -> None:
        """Work on a batch that is this server's. Raises StateError."""
        self._take_up(await self.store.read(lambda db: batches.work(db, id)))

    async def cancel(self, id: str, user: str | None = None) -> Batch:
        """Begin nothing more of it, and give up what is under way. Returns it as it is then. `user`: whose it is; None:
        whosever it is. Raises NoBatch, StateError."""
        now = self.store.now
        found = await self.store.write(lambda db: batches.cancel(db, id, now, user))
        if run := self._runs.get(id):
            run.stop("cancelled")
            self._settle(run)
        return found

    # Tasks

    def _begin(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name="batches")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("work on batches stopped", exc_info=error)

    async def _recover(self) -> None:
        """Now, and from time to time: another server of the same folder may end."""
        while True:
            try:
                await self.store.recover()
                for id, served, model in await self.store.unclaimed():
                    if await self._serves(served, model) and await self.store.claim(id):
                        await self.add(id)
            except StateError as error:
                log.error("batches that were kept cannot be taken up: %s", error)
            await asyncio.sleep(RECOVER_EVERY)

    async def _watch_times(self) -> None:
        while True:
            await self.look_at_times()
            await asyncio.sleep(LOOK_AT_TIMES)

    async def look_at_times(self) -> None:
        """Stop those whose time is over."""
        for run in list(self._runs.values()):
            if run.work.expires <= self.store.now and not run.stopped:
                run.stop("expired")
                self._settle(run)

    def _take_up(self, work: Work) -> None:
        if work.id not in self._runs and not self._stopped:
            self._runs[work.id] = run = Run(work)
            self._begin(self._open(run))

    async def _open(self, run: Run) -> None:
        """Have its lines read, unless that is done, and answered."""
        work = run.work
        status = work.status
        if status == batches.VALIDATING:
            async with self._validating:
                validation = await self._validate(run)
            if validation.faults and not run.stopped:
                log.info("%s fails: %s", work.id, told(validation.faults))
                return await self._end(run, "failed", msgspec.convert(validation.faults, list[Any]))
            now = self.store.now
            status = await self._surely(lambda db: batches.start(db, work.number, now))
        run.begun = True
        run.told(status)
        self._settle(run)
        while self._workers < self._places and not run.ending:
            self._workers += 1
            self._begin(self._work())

    async def _validate(self, run: Run) -> Validation:
        validation = Validation(run.work, self._longest)
        await self._surely(validation.begin)
        while not validation.done and not run.stopped:
            await self._surely(validation.go_on)
        return validation

    # Lines

    async def _work(self) -> None:
        """Answer lines as long as there are some."""
        try:
            while (found := await self._next()) is not None:
                run, line, asking = found
                try:
                    if (result := await self._result(run, line, asking)) is not None:
                        await self._record(run, result)
                finally:
                    del run.under_way[line.number]
                    self._settle(run)
        finally:
            self._workers -= 1

    async def _next(self) -> tuple[Run, Line, Asking] | None:
        """The next line, which is under way then; None: there is none."""
        async with self._taking:
            while run := next((run for run in self._runs.values() if run.has_more), None):
                if not run.ready:
                    take = partial(batch_lines.take, work=run.work, after=run.after, limit=self._places)
                    run.took(await self._surely(take))
                    self._settle(run)
                if run.ready:
                    line = run.ready.popleft()
                    run.under_way[line.number] = asking = Asking()
                    return run, line, asking
        return None

    async def _result(self, run: Run, line: Line, asking: Asking) -> Result | None:
        """What became of a line. None: nobody wants to know."""
        if line.runs >= MAX_RUNS:
            return output_line.unanswered(line.number, line.custom_id, output_line.ENDED)
        try:
            reply = await self._reply(run, line, asking)
        except Exception as error:
            log.error("line %d of %s failed", line.number, run.work.id, exc_info=error)
            return output_line.unanswered(line.number, line.custom_id, ("server_error", str(error) or repr(error)))
        return output_line.answered(line.number, line.custom_id, reply) if reply else None

    async def _reply(self, run: Run, line: Line, asking: Asking) -> Reply | None:
        """Its last one: where there is no room, or no engine yet, it waits."""
        body = line_form.request(line.data)
        waited = 0.0
        for death in range(MAX_DEATHS):
            async with self._suspects if death else contextlib.nullcontext():
                while True:
                    reply = await self._answer(run.work, body, asking)
                    if reply is None or reply.retry_after is None or waited > PATIENCE:
                        break
                    if not await asking.pause(reply.retry_after):
                        return None
                    waited += reply.retry_after if reply.status == 503 else 0.0
            if reply is None or reply.status != 503 or reply.code != "engine_died":
                break
        return reply

    async def _record(self, run: Run, result: Result) -> None:
        """Return once it is in the database. What ends within a moment is written together."""
        run.ended.append(result)
        if run.recording is None:
            run.recording = self._begin(self._write(run))
        await asyncio.shield(run.recording)

    async def _write(self, run: Run) -> None:
        await asyncio.sleep(MOMENT)
        results, run.ended, run.recording = run.ended, [], None
        run.told(await self._surely(lambda db: batch_lines.record(db, run.work, results)))

    # Its end

    def _settle(self, run: Run) -> None:
        """End it, if nothing is left to do."""
        if run.begun and run.over and not run.ending and not self._stopped:
            run.ending = True
            self._begin(self._end(run, run.stopped or "completed"))

    async def _end(self, run: Run, status: str, errors: Any = ()) -> None:
        run.ending = True
        if status == "expired":
            while await self._surely(partial(_expire, work=run.work)):
                pass
        now = self.store.now
        await self._surely(lambda db: batches.end(db, run.work.number, status, now, errors))
        self._runs.pop(run.work.id, None)
        log.info("%s: %s", run.work.id, status)

    async def _surely(self, job: Callable[[Any], Any]) -> Any:
        """What the database says, as soon as it can be written."""
        while True:
            try:
                return await self.store.write(job)
            except StateError as error:
                log.error("a batch waits: %s", error)
                await asyncio.sleep(TRY_AGAIN)


async def _nobody(work: Work, body: bytes, asking: Asking) -> Reply | None:
    raise AssertionError("work has begun before `start`")


def _expire(db: Any, work: Work) -> bool:
    """A job: some lines that are left have failed. Returns whether there were any."""
    some = batch_lines.left(db, work.number, TOGETHER)
    results = [output_line.unanswered(number, custom_id, output_line.EXPIRED) for number, custom_id in some]
    batch_lines.record(db, work, results)
    return bool(results)
