"""Starts the engines of a pool's models, and ends them. What is loaded, and what gives way, it is told.

Whenever a model is planned, loaded, gone or failed it calls `changed`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from nitro.engines.client.spawn import SpawnedEngine
from nitro.errors import EngineDown, EngineError, NitroError
from nitro.models import residency
from nitro.models.handle import ServedModel
from nitro.models.load_plan import LoadPlan, MakeEngine, MakePlan
from nitro.models.pool_entry import Member

log = logging.getLogger("nitro.models")


class Loader:
    """The engines of one pool. Belongs to the event loop."""

    def __init__(self, plan: MakePlan, engine: MakeEngine, keep_alive: float | None, changed: Callable[[], None]):
        """`keep_alive`: seconds after which an idle model is unloaded, unless its settings or a request say otherwise;
        None: never."""
        self._plan, self._engine = plan, engine
        self._keep_alive, self._changed = keep_alive, changed
        self.loads = 0  # of models that were wanted, not of the default at the start
        self._stopped = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost: asyncio.Future[EngineError] | None = None

    async def plan(self, member: Member, budget: int) -> None:
        """Find out how it is to be loaded, or refuse those that wait for it. `budget`: bytes for all models."""
        wanted = member.wanted
        try:
            plan = await asyncio.to_thread(self._plan, wanted, budget)
            if wanted is member.wanted:
                member.plan = plan
        except NitroError as error:
            member.refuse(member.unusable(error))
        except Exception as error:
            log.error("%s could not be looked at", member.id, exc_info=error)
            member.refuse(member.unusable(error))
        member.planning = False
        self._changed()

    def serve(self, member: Member, plan: LoadPlan, first: SpawnedEngine | None = None) -> ServedModel:
        """The model with a new engine. What is known of its template stays, if that did. `first`: a process that loads
        it already."""
        engine = self._engine(member.id, plan, first)
        served, settings = member.served, member.wanted.settings
        about = settings.tool_format, plan.defaults, settings.stops, settings.grammar
        fresh = ServedModel(member.wanted.source, engine, plan.template, *about)
        if served is None or not served.same(fresh):
            return fresh
        served.engine = engine
        return served

    def begin(self, member: Member) -> None:
        """Load what is planned."""
        plan = member.plan
        assert plan and not member.resident
        if member.served is None or member.served.engine.started:
            self.loads += 1
            log.info("loading %s, which may take %d MiB", member.id, plan.bytes // residency.MIB)
            member.served = self.serve(member, plan)
        member.resident, member.ready_since, member.bytes = True, None, plan.bytes
        if member.keep_alive is None:
            own = member.wanted.settings.keep_alive
            member.keep_alive = self._keep_alive if own is None else own
        self.spawn(self._watch(member, member.served), f"watch {member.id}")
        member.served.engine.start()

    async def _watch(self, member: Member, served: ServedModel) -> None:
        """An engine from its start to its end."""
        engine = served.engine
        now = asyncio.get_running_loop().time
        try:
            info = await engine.loaded()
        except EngineError as error:
            if member.ended is not engine and not self._stopped:
                member.failed(error, now())
                self.end(member)
            return
        if member.ended is engine:
            return
        member.loaded(now())
        if not member.leases:
            member.idle_since = now()
        if engine.spec.kv_bytes is None:  # it took what it liked
            member.bytes += info.kv_bytes
        self._changed()
        why = await engine.ended()
        if member.ended is not engine and not self._stopped:
            if self._lost is None:
                self._lost = asyncio.get_running_loop().create_future()
            if not self._lost.done():
                self._lost.set_result(why)

    def end(self, member: Member) -> None:
        """End its engine."""
        if member.ending or not member.served:
            return
        member.ending, member.ended = True, member.served.engine
        why = member.failure or EngineDown(f"The model '{member.id}' was unloaded.")  # sent again, it would be back
        member.served.engine.stop(why if isinstance(why, EngineError) else EngineDown(str(why)))
        member.closing = self.spawn(self._close(member, member.served), f"end {member.id}")

    async def _close(self, member: Member, served: ServedModel) -> None:
        await served.engine.close()
        served.engine.steps.clear()  # an engine is a cycle, which waits for the garbage collector
        member.resident = member.ending = False
        member.ready_since = member.keep_alive = member.plan = None
        member.bytes = 0
        self._changed()

    async def lost(self) -> EngineError:
        """Wait until an engine has ended that does not come back: why."""
        self._lost = self._lost or asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._lost)

    def stop(self) -> None:
        """Engines that end from now on are no surprise."""
        self._stopped = True

    async def close(self) -> None:
        """End what still waits for engines."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Have it done, until `close`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("the pool of models has a fault", exc_info=error)
