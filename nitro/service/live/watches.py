"""What the engines of a server compute, while somebody looks: a watch on each, and what is told of its model."""

from collections.abc import Mapping

from nitro.engines import messages
from nitro.engines.client.engine import Engine
from nitro.engines.client.generation import Generation
from nitro.engines.types import SlotState
from nitro.models.pool import Pool
from nitro.models.pool_entry import PoolEntry
from nitro.service.live.state import LiveCounts, LiveLoad, LiveModel, LiveSlot
from nitro.service.metrics import Metrics

Names = Mapping[Generation, str]  # of requests that are under way
IDLE = (0, 0, 0, 0)


class EngineWatch:
    """See Watcher."""

    def __init__(self) -> None:
        self.generated = self.computed = self.cached = 0
        self.held: list[SlotState] = []

    @property
    def counts(self) -> LiveCounts:
        """So far."""
        return LiveCounts(self.generated, self.computed, self.cached)

    def step(self, message: messages.Step) -> None:
        """See Watcher. A chunk of one token is a decode, but where a prompt ends with one."""
        record = message.record
        self.computed += sum([row.stop - row.start for row in record.rows if row.stop - row.start > 1])
        self.generated += sum([len(output.tokens) for output in message.outputs])
        self.cached += sum([admission.cached for admission in record.admitted])

    def slots(self, slots: list[SlotState]) -> None:
        """See Watcher."""
        self.held = slots

    def lost(self) -> None:
        """See Watcher."""
        self.held = []


class Watches:
    """The watches on all engines of a pool. An engine that is loaded meanwhile gets one with the next look."""

    def __init__(self, pool: Pool, metrics: Metrics):
        self._pool = pool
        self._metrics = metrics
        self._by_engine: dict[Engine, EngineWatch] = {}

    @property
    def memory(self) -> int:
        """Bytes for all models."""
        return self._pool.limits.bytes

    def end(self) -> None:
        """Nobody looks any more."""
        for engine in self._by_engine:
            engine.watch(None)
        self._by_engine = {}

    def models(self, names: Names) -> list[LiveModel]:
        """What is told of each model that was wanted so far."""
        entries = self._pool.entries()
        engines = {entry.served.engine for entry in entries if entry.served and entry.resident}
        for gone in self._by_engine.keys() - engines:
            del self._by_engine[gone]
            gone.watch(None)
        return [self._model(entry, names) for entry in entries]

    def _watch(self, engine: Engine) -> EngineWatch:
        if (watch := self._by_engine.get(engine)) is None:
            watch = self._by_engine[engine] = EngineWatch()
            engine.watch(watch)
        return watch

    def _model(self, entry: PoolEntry, names: Names) -> LiveModel:
        engine = entry.served.engine if entry.served and entry.resident else None
        info = engine.info if engine else None
        watch = self._watch(engine) if engine else EngineWatch()
        now = self._metrics.of(entry.id).now if engine else IDLE
        running, waiting, kv_used, inputs = now
        return LiveModel(
            id=entry.id,
            state=entry.state,
            reason=entry.reason,
            bytes=entry.bytes,
            loaded=entry.resident,
            loading=LiveLoad(entry.loading.read, entry.loading.total) if entry.loading else None,
            engine=info.engine if info else None,
            device=info.device if info else None,
            context=entry.context,
            parallel=info.parallel if info else 0,
            running=running,
            waiting=waiting,
            inputs=inputs,
            kv_used=kv_used,
            kv_tokens=info.kv_tokens if info else 0,
            counts=watch.counts,
            slots=[_slot(state, engine, names) for state in watch.held] if engine else [],
        )


def _slot(state: SlotState, engine: Engine, names: Names) -> LiveSlot:
    generation = engine.generations.by_id.get(state.id) if state.id is not None else None
    if generation is None:
        return LiveSlot(state.slot, state.held, offloaded=state.offloaded)
    return LiveSlot(state.slot, state.held, names.get(generation), state.prompt, state.cached)
