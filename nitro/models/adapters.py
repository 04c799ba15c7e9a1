"""The adapters of a server's models: found by name, loaded and dropped while their model runs.

What is loaded so belongs to the model as it is loaded now, as its other options do: it is there again after its engine
has died, or the model made way for another, and gone once a client has unloaded the model.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from nitro.engines.adapters import MAX_ADAPTERS, AdapterInfo, AdapterSource
from nitro.engines.types import ModelInfo
from nitro.errors import ApiError, PromptRejected, no_such_model
from nitro.models.handle import ServedModel
from nitro.models.lease import Lease
from nitro.models.offers import Offers
from nitro.models.pool_entry import Member


class Adapters:
    """Those of one pool. Belongs to the event loop. `base` is the name of a model, None: the default.

    Everything raises ApiError and EngineError where the model is not there.
    """

    def __init__(self, offers: Offers, lease: Callable[[str | None], Lease]):
        self._offers, self._lease = offers, lease
        self._coming: set[str] = set()  # names of adapters that are being loaded
        self._tasks: set[asyncio.Task[AdapterInfo]] = set()

    async def of(self, base: str | None) -> list[AdapterInfo]:
        """Those of a model."""
        async with self._loaded(base) as (_, info):
            return info.adapters

    async def load(self, name: str, path: str, base: str | None, in_place: bool = False) -> AdapterInfo:
        """Load one onto a model. `in_place`: it takes the place of one of its name. Raises ApiError."""
        async with self._loaded(base) as (model, info):
            member = self._offers.served_as(model)
            if not info.takes_adapters or member is None:
                raise ApiError(400, f"The model '{model.source.id}' takes no adapters.", code="adapters_unsupported")
            there = next((each for each in info.adapters if each.name == name), None) if in_place else None
            if name in self._coming or not (there or self._is_free(name)):
                raise ApiError(409, f"There is a model or an adapter '{name}' already.", code="name_taken")
            if len(info.adapters) >= MAX_ADAPTERS:
                raise ApiError(400, f"A model has at most {MAX_ADAPTERS} adapters.", code="too_many_adapters")
            self._coming.add(name)
            loading = asyncio.create_task(self._load(member, name, path, there), name=f"load adapter {name}")
            self._tasks.add(loading)
            loading.add_done_callback(self._done)
            return await asyncio.shield(loading)  # who leaves does not leave one behind that nobody knows

    async def _load(self, member: Member, name: str, path: str, instead_of: AdapterInfo | None) -> AdapterInfo:
        assert member.served
        engine = member.served.engine
        try:
            info = await engine.load_adapter(name, path)
            member.bytes += info.bytes
            gone = engine.drop_adapter(instead_of.id) if instead_of else None
            member.note_adapters()
            if gone and instead_of:
                await gone
                member.bytes -= instead_of.bytes
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
        `number`: that it must have. Raises ApiError 400, 404."""
        member = await self._offers.with_adapter(name)
        if member is None or not member.served or not member.served.engine.info:
            raise ApiError(404, f"There is no adapter '{name}' that is loaded.", code="adapter_not_found")
        found = member.adapter(name)
        assert isinstance(found, AdapterInfo)
        if number not in (None, found.id):
            raise ApiError.invalid("lora_int_id", f"{found.id}, which is the number of '{name}'")
        gone = member.served.engine.drop_adapter(found.id)
        member.note_adapters()
        await gone
        member.bytes -= found.bytes
        return found

    async def scale(self, scales: Sequence[tuple[int, float]], base: str | None) -> list[AdapterInfo]:
        """Apply them at these scales, and the others not, to requests that say nothing of adapters. Raises ApiError."""
        async with self._loaded(base) as (model, info):
            known = {each.id for each in info.adapters}
            for i, (id, _) in enumerate(scales):
                if id not in known:
                    raise ApiError.invalid(f"[{i}].id", "the number of an adapter of GET /lora-adapters")
            return model.engine.scale_adapters(dict(scales))

    @asynccontextmanager
    async def _loaded(self, base: str | None) -> AsyncIterator[tuple[ServedModel, ModelInfo]]:
        lease = self._lease(base)
        async with lease as model:
            if base and not lease.found:
                raise no_such_model(base, [member.id for member in self._offers.members])
            yield model, await model.engine.ready()

    def _is_free(self, name: str) -> bool:
        """Whether no model that was wanted, and no adapter, is called so."""
        return not any(member.is_called(name) or member.adapter(name) for member in self._offers.members)
