"""A model as the pool knows it: whether it is loaded, who waits for it, and what others are told of it."""

import asyncio
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nitro.engines import adapters
from nitro.engines.adapters import AdapterSource
from nitro.engines.client.engine import Engine
from nitro.engines.client.state import EngineState, Pause
from nitro.engines.shares import FLEX, WEIGHTS, Tier
from nitro.engines.types import LoadProgress
from nitro.errors import ApiError, EngineDown, NitroError
from nitro.models import names
from nitro.models.handle import ServedModel
from nitro.models.load_plan import LoadPlan, Wanted
from nitro.models.residency import Resident, Waiting

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds before a model that could not be loaded is tried again

State = Literal[
    "unloaded", "waiting", "loading", "ok", "restarting", "stalled", "down", "unloading", "failed", "broken"
]


class PoolEntry(Struct, frozen=True, kw_only=True):
    """What is told of a model. `bytes`: what is set aside for it while it is loaded, else the size of its files."""

    id: str
    state: State
    reason: str | None  # why it is not well
    bytes: int
    context: int | None  # tokens; None: not known
    resident: bool  # it has an engine
    leases: int
    idle: float | None  # seconds without a request; None: it is not loaded, or works
    keep_alive: float | None = None  # seconds of idleness after which it is unloaded; None: never, or not loaded
    pinned: bool
    wanted: Wanted
    served: ServedModel | None  # None: it has not been loaded yet
    adapters: list[AdapterSource] = []  # an AdapterInfo each, where it is loaded
    loading: LoadProgress | None = None  # how far a load of it is
    pause: Pause | None = None  # before its engine is started again

    def adapter(self, name: str | None) -> AdapterSource | None:
        """See names.among."""
        return names.among(name, self.adapters)


class Claim(NamedTuple):
    """A request that waits for room, and since when."""

    since: float
    tier: Tier


class Member:
    """One model in the pool. Only the pool changes it."""

    def __init__(self, wanted: Wanted, pinned: bool):
        self.wanted = wanted
        self.offered = wanted.settings  # before any load that sets others
        self.pinned = pinned
        self.brought = False  # a client named its file, and may name the model as it likes
        self.loads = 0  # that were asked for, and have not ended
        self.plan: LoadPlan | None = None
        self.planning = False
        self.served: ServedModel | None = None
        self.resident = False  # it has an engine
        self.ending = False  # the engine is on its way out
        self.ended: Engine | None = None  # the last engine that the pool has ended
        self.ready_since: float | None = None
        self.idle_since = 0.0
        self.used = -math.inf  # when somebody above the tier flex had it last, and gave it back
        self.keep_alive: float | None = None
        self.file_bytes = wanted.stored.size if wanted.stored else 0
        self.bytes = 0  # that are set aside while it is resident
        self.closing: asyncio.Task[None] | None = None  # of the last end
        self.waiters: dict[asyncio.Future[ServedModel], Claim] = {}  # who waits for room
        self.failure: NitroError | None = None  # of the last load
        self.retry_at = 0.0
        self._failures = 0

    @property
    def id(self) -> str:
        """Its name in the API."""
        return self.wanted.source.id

    def is_called(self, name: str | None, to_all: bool = True) -> bool:
        """Whether this is one of its names, to the letter. `to_all`: also of those that others may have, too."""
        source, settings, stored = self.wanted.source, self.wanted.settings, self.wanted.stored
        if not name:
            return False
        names = stored.names if stored and to_all else ()
        return name in (source.id, source.stem, settings.alias, *((stored.name,) if stored else ()), *names)

    @property
    def adapters(self) -> Sequence[AdapterSource]:
        """Those that it has or, where it is not loaded, will have."""
        if self.served and self.resident:
            info = self.served.engine.info
            return info.adapters if info else self.served.engine.spec.adapter_sources
        return adapters.parse(self.wanted.settings.options.get("lora", ()))

    def adapter(self, name: str | None) -> AdapterSource | None:
        """See names.among."""
        return names.among(name, self.adapters) if name else None

    def note_adapters(self) -> None:
        """It is to have the adapters that it has now whenever it is loaded."""
        options = {**self.wanted.settings.options, "lora": tuple(map(adapters.option, self.adapters))}
        self.wanted = replace(self.wanted, settings=replace(self.wanted.settings, options=options))

    def want(self, wanted: Wanted, pinned: bool) -> None:
        """It is to be loaded so, the next time."""
        self.wanted, self.pinned = wanted, pinned
        self.plan = self.keep_alive = None

    @property
    def leases(self) -> int:
        """Requests that have it."""
        return self.served.leases if self.served else 0

    @property
    def ready(self) -> bool:
        """Whether it is loaded, and its engine works."""
        return self.served is not None and self.served.engine.info is not None

    def waiting(self, plan: LoadPlan) -> Waiting:
        """For the policy, of one that is not loaded, and somebody waits for."""
        claims = self._above_flex or list(self.waiters.values())
        highest = max(claims, key=lambda claim: WEIGHTS[claim.tier])
        return Waiting(self.id, plan.bytes, min(claim.since for claim in claims), self.pinned, highest.tier)

    def queue(self, tier: Tier) -> int:
        """How many wait that do not stand behind a request of this tier."""
        return sum(WEIGHTS[claim.tier] >= WEIGHTS[tier] for claim in self.waiters.values())

    @property
    def _above_flex(self) -> list[Claim]:
        return [claim for claim in self.waiters.values() if claim.tier != FLEX]

    def failed(self, error: NitroError, now: float) -> None:
        """It could not be loaded. Each failure in a row makes the pause longer."""
        self.failure = error
        self.retry_at = now + min(FIRST_PAUSE * 2.0**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 30)

    def pausing(self, now: float) -> EngineDown:
        """The error of a load that is not tried again yet."""
        return EngineDown(f"{self.failure} It is tried again after a pause.", self.retry_at - now)

    def unusable(self, error: Exception) -> ApiError:
        """The error of a model whose files are at fault."""
        if isinstance(error, ApiError):
            return error
        why = f"The model '{self.id}' cannot be loaded: {error}"
        return ApiError(503, why, type="server_error", code="model_unusable")

    def refuse(self, error: NitroError) -> None:
        """Those that wait for room get this error."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self.waiters.clear()

    def loaded(self, now: float) -> None:
        """Its engine is ready."""
        self.failure, self._failures = None, 0
        self.ready_since = now

    def picture(self) -> Resident:
        """For the policy."""
        in_use = bool(self._above_flex) or (self.served is not None and self.served.in_use)
        return Resident(
            name=self.id,
            bytes=self.bytes,
            leases=self.leases,
            ready_since=self.ready_since,
            idle_since=self.idle_since,
            keep_alive=self.keep_alive,
            pinned=self.pinned,
            ending=self.ending,
            used=math.inf if in_use else self.used,
        )

    def entry(self) -> PoolEntry:
        """For people and programs."""
        now = asyncio.get_running_loop().time()
        state, reason = self._state()
        info = self.served.engine.info if self.served and self.resident else None
        return PoolEntry(
            id=self.id,
            state=state,
            reason=reason,
            bytes=self.bytes if self.resident else self.file_bytes,
            context=info.context if info else None,
            resident=self.resident,
            leases=self.leases,
            idle=max(now - self.idle_since, 0.0) if info and not self.leases else None,
            keep_alive=None if self.pinned else self.keep_alive,
            pinned=self.pinned,
            wanted=self.wanted,
            served=self.served,
            adapters=list(self.adapters),
            loading=self.served.engine.progress if self.served and self.resident else None,
            pause=self.served.engine.pause if self.served and self.resident else None,
        )

    def _state(self) -> tuple[State, str | None]:
        if self.ending:
            return "unloading", None
        if self.wanted.stored and self.wanted.stored.problem:
            return "broken", self.wanted.stored.problem
        if not self.resident or self.served is None:
            if self.waiters:
                return "waiting", None
            return ("failed", str(self.failure)) if self.failure else ("unloaded", None)
        engine = self.served.engine
        if reason := engine.stalled:
            return "stalled", reason
        match engine.state:
            case EngineState.READY:
                return "ok", None
            case EngineState.LOADING:
                return "loading", None
            case EngineState.RESTARTING:
                return "restarting", engine.failure
            case EngineState.DOWN:
                return "down", engine.failure or "The server is stopping."
