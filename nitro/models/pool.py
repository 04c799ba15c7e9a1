"""Which models are loaded, and who has them. Only the pool's loader starts and ends engines; only `residency` decides
which.

Everything happens on the event loop, and nothing holds a lock: whatever changes (a request, a lease given back, a load
or an end that is done, a timer) calls `_turn`, which has the policy look at how things stand and does what it says.

A request waits here for room only. As soon as its model's load begins it has its lease, and waits for the engine, which
all that come meanwhile share. A load goes on when those that wanted it leave: the next one is likely to come.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.shares import FLEX, Tier
from nitro.errors import ApiError, EngineBusy, EngineError, NitroError
from nitro.keys.key import Rights
from nitro.keys.refusals import check_model
from nitro.models import residency
from nitro.models.adapters import Adapters
from nitro.models.catalog import Catalog
from nitro.models.handle import ServedModel
from nitro.models.lease import Lease
from nitro.models.load_plan import LoadPlan, MakeEngine, MakePlan, Wanted
from nitro.models.loader import Loader
from nitro.models.model_source import ModelSource
from nitro.models.offers import Offers, told_to
from nitro.models.pool_entry import Claim, Member, PoolEntry
from nitro.models.residency import Limits
from nitro.models.settings import AS_SERVED, ModelSettings

log = logging.getLogger("nitro.models")


class Pool:
    """The models of one server."""

    def __init__(
        self,
        plan: MakePlan,
        engine: MakeEngine,
        limits: Limits,
        catalog: Catalog | None = None,
        *,
        keep_alive: float | None = None,
        pins: Iterable[str] = (),
        max_waiting: int = 72,
        free_on_gpu: Callable[[], int] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ):
        """`catalog`: what is offered besides the default; None: nothing. `keep_alive`: seconds after which an idle
        model is unloaded, None: never. `pins`: names of models that never give way. `max_waiting`: requests that may
        wait for one model's room, but for those of lower tiers. `free_on_gpu`: bytes free where models go, 0 if that is
        main memory; asked once, and may block. `prepare` is called when nothing works on a model, and another one may
        be wanted, as before."""
        self.limits = limits
        self._loader = Loader(plan, engine, keep_alive, self._turn)
        self._free_on_gpu, self._prepare = free_on_gpu, prepare
        self._max_waiting = max_waiting
        self._offers = Offers(catalog, frozenset(pins))
        self.adapters = Adapters(self._offers, self.lease)
        self._default: Member | None = None
        self._drained: frozenset[str] = frozenset()
        self._stopped: EngineError | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What is offered

    @property
    def default(self) -> ServedModel | None:
        """The model of requests that name none. None: there is none yet."""
        return self._default.served if self._default else None

    @property
    def default_entry(self) -> PoolEntry | None:
        """What is told of it."""
        return self._default.entry() if self._default else None

    @property
    def default_ready(self) -> bool:
        """Whether it is loaded, and its engine works."""
        return self._default is not None and self._default.ready

    @property
    def by_name(self) -> bool:
        """Whether a request's name may mean one model or another."""
        return self._offers.catalog is not None or self._default is None

    def entries(self) -> list[PoolEntry]:
        """The models that were wanted so far, the default first."""
        return [member.entry() for member in self._offers.members]

    async def offered(self) -> list[PoolEntry]:
        """All models, also those that nobody has wanted yet."""
        return [member.entry() for member in await self._offers.all()]

    async def find(self, name: str, rights: Rights | None = None) -> PoolEntry:
        """The model of this name, or the one that an adapter of this name is of. Raises ApiError 404, which tells of no
        model that is not for these `rights`."""
        try:
            return (await self._offers.exactly(name)).entry()
        except ApiError as error:
            if member := await self._offers.with_adapter(name):
                return member.entry()
            raise told_to(rights, error) from None

    def note(self, name: str) -> None:
        """Log, once per name, that a request has named a model that is not ours."""
        if self._default:
            self._offers.note(name, self._default)

    def lease(self, name: str | None = None, rights: Rights | None = None, tier: Tier = "default") -> Lease:
        """The model for a request that names this one, or none. `rights`: of who makes it; None: to everything."""
        return Lease(self, name, rights, tier)

    async def acquire(
        self, name: str | None, rights: Rights | None = None, tier: Tier = "default"
    ) -> tuple[ServedModel, bool]:
        """See Lessor."""
        member, found = self._offers.known(name, self._default)
        if member is None:
            member, found = await self._offers.find(name, self._default, rights)
        if rights:
            adapter = member.adapter(name) if name else None
            check_model(rights, adapter.name if adapter else member.id)
        return await self._leased(member, tier), found

    async def _leased(self, member: Member, tier: Tier = "default") -> ServedModel:
        if self._stopped:
            raise self._stopped
        if self._admits(member):
            assert member.served
            member.served.lend(tier)
            return member.served
        loop = asyncio.get_running_loop()
        if member.failure and not member.resident and loop.time() < member.retry_at:
            raise member.pausing(loop.time())
        if (queue := member.queue(tier)) >= self._max_waiting:
            raise EngineBusy(f"{queue} requests wait for the model, and no more may queue.")
        waiter: asyncio.Future[ServedModel] = loop.create_future()
        member.waiters[waiter] = Claim(loop.time(), tier)
        self._turn()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self.give_back(waiter.result(), tier)  # it came, and nobody is there to take it
            raise
        finally:
            member.waiters.pop(waiter, None)
            self._turn()

    def give_back(self, model: ServedModel, tier: Tier = "default") -> None:
        """See Lessor."""
        model.take_back(tier)
        member, now = self._offers.served_as(model), asyncio.get_running_loop().time()
        if member and not model.leases:
            member.idle_since = now
        if member and not model.in_use and tier != FLEX:
            member.used = now
        if not model.leases or (not model.in_use and tier != FLEX):
            self._turn()
        if not model.leases and self._loader.loads and self.by_name and not self._stopped:
            self._prepare()

    def keep_alive(self, model: ServedModel, seconds: float) -> None:
        """See Lessor."""
        if (member := self._offers.served_as(model)) and not member.ending:
            member.keep_alive = seconds

    def _admits(self, member: Member) -> bool:
        return member.resident and not member.ending and member.id not in self._drained

    # Loading and unloading by name

    async def load(self, name: str, settings: ModelSettings = AS_SERVED) -> ServedModel:
        """Load a model, as set there. One that is loaded stays, unless it was loaded otherwise. Raises ApiError,
        EngineError."""
        return await self._load_as(await self._offers.exactly(name), settings)

    async def load_source(self, source: ModelSource, settings: ModelSettings = AS_SERVED) -> ServedModel:
        """Load a model that need not be in a store. As long as it is loaded it has any name that is no other's. Raises
        ApiError, EngineError."""
        member = await self._offers.bring(source, settings.alias)
        try:
            return await self._load_as(member, settings)
        except NitroError:
            if not member.leases:
                self._offers.put_back(member)
            raise

    async def _load_as(self, member: Member, settings: ModelSettings) -> ServedModel:
        member.loads += 1
        try:
            model = await self._loaded(member, settings)
        finally:
            member.loads -= 1
            self._turn()
        self._default = self._default or member
        return model

    async def _loaded(self, member: Member, settings: ModelSettings) -> ServedModel:
        wanted = self._offers.with_settings(member, settings)
        if settings != AS_SERVED and wanted != member.wanted:
            while closing := self._begin_to_unload(member, force=False):  # it may be back at once: others want it, too
                await asyncio.wait([closing])
            member.want(wanted, self._offers.pinned(wanted))
        member.retry_at = 0.0  # who asks for a load does not mean that it failed before
        model = await self._leased(member)
        try:
            await model.engine.ready()
        finally:
            self.give_back(model)
        return model

    async def unload(self, name: str, force: bool = False) -> PoolEntry:
        """End a model's engine, and forget how it was loaded; returns when every byte is back, with what is told of it
        then. `force`: requests that run end with an error, else they are a reason to refuse. Raises ApiError 404, 409.
        """
        member = await self._offers.exactly(name)
        await self._unload(member, force)
        return member.entry()

    async def _unload(self, member: Member, force: bool) -> None:
        closing = self._begin_to_unload(member, force)
        if not member.waiters:  # those want it as it is
            self._offers.put_back(member)
        if closing:
            await asyncio.wait([closing])
        if self._default is member and self._offers.given is None and not member.resident:
            self._default = None

    async def forget(self, path: str) -> None:
        """Unload the model whose file this is, and know it no more. Raises ApiError 409."""
        if member := self._offers.at(path):
            await self._unload(member, force=False)
            self._offers.forget(member)

    def _begin_to_unload(self, member: Member, force: bool) -> "asyncio.Task[None] | None":
        """What to wait for; None: nothing. Raises ApiError 409."""
        if member.resident and not member.ending:
            if member.leases and not force:
                message = f"The model '{member.id}' has {member.leases} requests under way."
                raise ApiError(409, message, code="model_busy")
            log.info("unloading %s, as a request says", member.id)
            self._loader.end(member)
        return member.closing if member.resident else None

    async def forget_prefixes(self) -> int:
        """Have the loaded models forget all prefixes that no request has now. Returns how many tokens they were."""
        engines = [member.served.engine for member in self._offers.members if member.served and member.resident]
        forgotten = await asyncio.gather(*(engine.forget_prefixes() for engine in engines), return_exceptions=True)
        return sum(tokens for tokens in forgotten if isinstance(tokens, int))  # one that has died holds nothing

    # The server's life

    def offer_default(self, wanted: Wanted, plan: LoadPlan, first: SpawnedEngine | None = None) -> ServedModel:
        """The model of requests that name none, which is loaded at the start. `first`: a process that loads it."""
        self._default = member = self._offers.add(wanted)
        self._offers.given = member
        member.plan, member.file_bytes = plan, plan.bytes
        member.served = self._loader.serve(member, plan, first)
        return member.served

    def start(self) -> None:
        """Begin to load the default."""
        if self._default and self._default.plan:
            self._loader.begin(self._default)

    async def lost(self) -> EngineError:
        """Wait until an engine has ended that does not come back: why."""
        return await self._loader.lost()

    def stop(self, error: EngineError) -> None:
        """Whatever runs, waits or comes later ends with `error`."""
        self._stopped = self._stopped or error
        self._loader.stop()
        if self._timer:
            self._timer.cancel()
        for member in self._offers.members:
            member.refuse(error)
            if member.served:
                member.served.engine.stop(error)

    async def close(self) -> None:
        """End all engines, after `stop`."""
        await asyncio.gather(*(member.served.engine.close() for member in self._offers.members if member.served))
        await self._loader.close()

    # The loop

    def _turn(self) -> None:
        """Look at how things stand, and do what is to be done."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._stopped:
            return
        self._offers.sweep()
        members = self._offers.members
        wanted = [member for member in members if member.waiters and not member.resident]
        if not wanted and not self._drained and not any(m.resident and m.keep_alive is not None for m in members):
            return
        loop = asyncio.get_running_loop()
        for member in wanted:
            if member.failure and loop.time() < member.retry_at:  # it has failed while these came
                member.refuse(member.pausing(loop.time()))
            elif member.plan is None and not member.planning:
                member.planning = True
                self._loader.spawn(self._make_plan(member), f"plan {member.id}")
        by_id = {member.id: member for member in members}
        waiting = [member.waiting(member.plan) for member in wanted if member.plan and member.waiters]
        residents = [member.picture() for member in members if member.resident]
        decided = residency.decide(residents, waiting, self.limits, loop.time())
        for name, why in decided.refused.items():
            by_id[name].refuse(ApiError(503, why, type="server_error", code="model_too_large"))
        for name in decided.ends:
            log.info("unloading %s: %s", name, "another model needs the room" if waiting else "its idle time is over")
            self._loader.end(by_id[name])
        self._drained = decided.drained
        for name in decided.loads:
            self._loader.begin(by_id[name])
        for member in members:
            self._grant(member)
        if decided.again is not None:
            self._timer = loop.call_at(decided.again, self._turn)

    def _grant(self, member: Member) -> None:
        if self._admits(member) and member.served:
            for waiter, claim in member.waiters.items():
                if not waiter.done():
                    member.served.lend(claim.tier)
                    waiter.set_result(member.served)
            member.waiters.clear()

    async def _make_plan(self, member: Member) -> None:
        if self._free_on_gpu:
            ask, self._free_on_gpu = self._free_on_gpu, None
            if free := await asyncio.to_thread(ask):
                taken = sum(other.bytes for other in self._offers.members)
                self.limits = replace(self.limits, bytes=free + taken)
        await self._loader.plan(member, self.limits.bytes)
