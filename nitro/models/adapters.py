"""The adapters of a server's models: found by name, loaded and dropped while their model runs.

What is loaded so belongs to the model as it is loaded now, as its other options do: it is there again after its engine
has died, or the model made way for another, and gone once a client has unloaded the model.
"""

import asyncio
from collections.abc import Sequence

from nitro.engines.adapters import MAX_ADAPTERS, AdapterInfo, AdapterSource
from nitro.errors import ApiError, PromptRejected
from nitro.models.lease import Lease
from nitro.models.offers import Offers
from nitro.models.pool_entry import Member


class Adapters:
    """Those of one pool. Belongs to the event loop."""

    def __init__(self, offers: Offers):
        self._offers = offers
        self._coming: set[str] = set()  # names of adapters that are being loaded
        self._tasks: set[asyncio.Task[AdapterInfo]] = set()

    async def load(self, name: str, path: str, lease: Lease, in_place: bool = False) -> AdapterInfo:
        """Load one onto a model. `in_place`: it takes the place of one of its name. Raises ApiError, EngineError."""
        async with lease as model:
            info = await model.engine.ready()
            member = self._offers.served_as(model)
            if not info.takes_adapters or member is None:
                raise ApiError(400, f"The model '{model.source.id}' takes no adapters.", code="adapters_unsupported")
            there = next((each for each in info.adapters if each.name == name), None)
            if not (there and in_place):
                self._check_name(name)
            if len(info.adapters) >= MAX_ADAPTERS:
                raise ApiError(400, f"A model has at most {MAX_ADAPTERS} adapters.", code="too_many_adapters")
            self._coming.add(name)
            loading = asyncio.create_task(self._load(member, name, path), name=f"load adapter {name}")
            self._tasks.add(loading)
            loading.add_done_callback(self._done)
            loaded = await asyncio.shield(loading)  # who leaves does not leave one behind that nobody knows
            if there:
                await model.engine.drop_adapter(there.id)  # once nobody applies it
            return loaded

    async def _load(self, member: Member, name: str, path: str) -> AdapterInfo:
        assert member.served
        try:
            info = await member.served.engine.load_adapter(name, path)
            member.note_adapters()
            return info
        except PromptRejected as error:
            raise ApiError(400, str(error), param="lora_path", code="adapter_unusable") from None
        finally:
            self._coming.discard(name)

    def _done(self, task: "asyncio.Task[AdapterInfo]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have left

    async def drop(self, name: str, number: int | None = None) -> AdapterSource:
        """Drop one: new requests do not know it, and it is freed once those that run have ended; returns then.
        `number`: that it must have. Raises ApiError 400, 404, EngineError."""
        member = await self._offers.with_adapter(name)
        if member is None or not member.served or not member.served.engine.info:
            raise ApiError(404, f"There is no adapter '{name}' that is loaded.", code="adapter_not_found")
        engine = member.served.engine
        found = next(each for each in member.adapters if each.name == name)
        if number not in (None, found.id):
            raise ApiError.invalid("lora_int_id", f"{found.id}, which is the number of '{name}'")
        gone = engine.drop_adapter(found.id)
        member.note_adapters()
        await gone
        return found

    async def scale(self, scales: Sequence[tuple[int, float]], lease: Lease) -> list[AdapterInfo]:
        """Apply them at these scales, and the others not, to requests that say nothing of adapters. Raises ApiError,
        EngineError."""
        async with lease as model:
            info = await model.engine.ready()
            known = {each.id for each in info.adapters}
            for i, (id, _) in enumerate(scales):
                if id not in known:
                    raise ApiError.invalid(f"[{i}].id", "the number of an adapter of GET /lora-adapters")
            return model.engine.scale_adapters(dict(scales))

    def _check_name(self, name: str) -> None:
        """Raises ApiError where it is another's."""
        if name in self._coming or self._offers.is_taken(name):
            raise ApiError(409, f"There is a model or an adapter '{name}' already.", code="name_taken")
