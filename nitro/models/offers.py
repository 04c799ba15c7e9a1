"""What a server offers: the models of its pool by name, and which of them a request's name means."""

import asyncio
import logging
import os

from msgspec.structs import replace

from nitro.errors import ApiError, no_such_model
from nitro.keys.key import Rights
from nitro.models import model_source, names
from nitro.models.catalog import AmbiguousName, Catalog, NameNotFound
from nitro.models.handle import ServedModel
from nitro.models.load_plan import Wanted
from nitro.models.model_source import ModelSource
from nitro.models.pool_entry import Member
from nitro.models.settings import AS_SERVED, ModelSettings
from nitro.models.stored_model import StoredModel

log = logging.getLogger("nitro.models")

MAX_NOTED = 100  # unknown names that are logged


class Offers:
    """The members of a pool. The catalog's models become members when they are wanted. Belongs to the event loop."""

    def __init__(self, catalog: Catalog | None, pins: frozenset[str]):
        self.catalog = catalog
        self.members: list[Member] = []
        self.given: Member | None = None  # the default that the server was started with
        self._pins = pins
        self._noted: set[str] = set()

    def known(self, name: str | None, default: Member | None) -> tuple[Member | None, bool]:
        """The model that a name means without a look at the stores, and whether it means that one rather than any: the
        default, where there is no name or no other model, or one that was wanted before."""
        if member := (self._called(name) if self.catalog else self._spelled(name)) or self._adapting(name):
            return member, True
        return (default, False) if not name or self._alone else (None, False)

    def _called(self, name: str | None) -> Member | None:
        """A name that several stored models have means what the catalog says, whichever of them is loaded."""
        is_shared = name is not None and self.catalog is not None and self.catalog.is_shared(name)
        return next((member for member in self.members if member.is_called(name, to_all=not is_shared)), None)

    def _spelled(self, name: str | None) -> Member | None:
        """The same, of a name as it is or as Ollama's clients write it."""
        called = map(self._called, names.spellings(name or ""))
        return next((member for member in called if member), None)

    def _adapting(self, name: str | None) -> Member | None:
        """The member that has an adapter of this name."""
        return next((member for member in self.members if member.adapter(name)), None) if name else None

    async def with_adapter(self, name: str) -> Member | None:
        """The same, with a look at the stores' models."""
        if (member := self._adapting(name)) or self.catalog is None:
            return member
        member = next((each for each in await self.all() if each.adapter(name)), None)
        if member and member not in self.members:
            self.members.append(member)
        return member

    @property
    def _alone(self) -> bool:
        """Whether one model is offered, by any name."""
        return self.catalog is None and len(self.members) == 1

    def note(self, name: str, answering: Member) -> None:
        """Log, once per name, that requests have a name that is no model's."""
        if name not in self._noted and len(self._noted) < MAX_NOTED:
            self._noted.add(name)
            log.warning("requests for model %r are answered by %s", name, answering.id)

    def served_as(self, model: ServedModel) -> Member | None:
        """The member that this is the model of; None: it has another one by now."""
        return next((member for member in self.members if member.served is model), None)

    async def find(self, name: str | None, default: Member | None, rights: Rights | None = None) -> tuple[Member, bool]:
        """The same, with a look at the stores. Where these hold no other model the default has any name. Raises
        ApiError, which tells of no model that is not for these `rights`."""
        if not name:
            raise ApiError(400, "No model is loaded; name one of GET /v1/models.", param="model", code="model_required")
        try:
            return await self.exactly(name), True
        except _Unknown as unknown:
            if member := await self.with_adapter(name):
                return member, True
            if default and (unknown.names == [default.id] or default.brought):
                return default, False
            raise told_to(rights, unknown) from None

    async def exactly(self, name: str) -> Member:
        """The model that this name means. Raises ApiError."""
        if member := self._called(name):
            return member
        others: set[str] = set()
        try:
            if self.catalog:
                return await self._member(await asyncio.to_thread(self.catalog.find, name))
        except AmbiguousName as error:
            raise ApiError(400, str(error), param="model", code="model_ambiguous") from None
        except NameNotFound as error:
            others = {each for each in error.known if self._called(each) is None}
        if member := self._spelled(name):
            return member
        raise _Unknown(name, [*(member.id for member in self.members), *sorted(others)])

    async def all(self) -> list[Member]:
        """Those that were wanted, and after them those that only the catalog knows."""
        if self.catalog is None:
            return list(self.members)
        stored = await asyncio.to_thread(self.catalog.models)
        there = {_path(member) for member in self.members}
        return [*self.members, *(self._made(each) for each in stored if os.path.realpath(each.path) not in there)]

    def add(self, wanted: Wanted) -> Member:
        """One that need not be in a store; it takes the place of one of its id that is not loaded. Raises ApiError."""
        for member in list(self.members):
            if member.id == wanted.source.id:
                if member.wanted.source.path == wanted.source.path:
                    return member
                if member.resident or member.waiters:
                    raise ApiError(409, f"Another model is loaded as '{member.id}'.", code="model_busy")
                self.members.remove(member)
        member = Member(wanted, self.pinned(wanted))
        self.members.append(member)
        return member

    def at(self, path: str) -> Member | None:
        """The member whose file or folder this is."""
        place = os.path.realpath(path)
        return next((member for member in self.members if _path(member) == place), None)

    def forget(self, member: Member) -> None:
        """Know a model no more, unless it is in use."""
        if member in self.members and not _in_use(member):
            self.members.remove(member)

    async def bring(self, source: ModelSource, alias: str | None) -> Member:
        """The one whose file a client names: that of a store, where one has it. `alias`: another name of it. Raises
        ApiError."""
        member = self.at(source.path)
        if member is None and self.catalog:
            stored = await asyncio.to_thread(self.catalog.at, os.path.realpath(source.path))
            member = await self._member(stored) if stored else None
        if any(
            each is not member and each.is_called(alias) and (each.resident or each.waiters) for each in self.members
        ):
            raise ApiError(409, f"Another model is loaded as '{alias}'.", code="model_busy")
        member = member or self.add(Wanted(source, AS_SERVED))
        member.brought = self.given is None
        return member

    def put_back(self, member: Member) -> None:
        """One that is not loaded, or on its way out, is as it was before anybody loaded it otherwise."""
        member.brought = False
        if member.wanted.settings != member.offered:
            wanted = replace(member.wanted, settings=member.offered)
            member.want(wanted, self.pinned(wanted))

    def sweep(self) -> None:
        """What a client brought, and no store has, is offered while it is loaded or loads."""
        for member in list(self.members):
            if member.wanted.stored is None and member is not self.given:
                self.forget(member)

    def pinned(self, wanted: Wanted) -> bool:
        """Whether it never gives way."""
        member = Member(wanted, False)
        return wanted.settings.pin or any(map(member.is_called, self._pins))

    def with_settings(self, member: Member, settings: ModelSettings) -> Wanted:
        """The model with what `settings` sets; the rest is as it is offered, and not as an earlier load had it."""
        return replace(member.wanted, settings=over(settings, member.offered))

    async def _member(self, stored: StoredModel) -> Member:
        if stored.problem:
            raise ApiError(400, f"The model '{stored.name}': {stored.problem}", param="model", code="model_unusable")
        if member := self.at(stored.path):
            return member
        member = self._made(stored)
        self.members.append(member)
        return member

    def _made(self, stored: StoredModel) -> Member:
        assert self.catalog
        settings = self.catalog.settings(stored)
        source = model_source.of(stored, settings.alias)
        if any(member.id == source.id for member in self.members):  # the default's file is called so, too
            source = replace(source, id=f"{source.id}@{stored.store or 'folder'}")
        wanted = Wanted(source, settings, stored)
        return Member(wanted, self.pinned(wanted))


class _Unknown(ApiError):
    """404. `names`: those that there are."""

    def __init__(self, name: str, known: list[str]):
        error = no_such_model(name, known)
        super().__init__(error.status, str(error), code=error.code)
        self.name, self.names = name, known


def told_to(rights: Rights | None, error: ApiError) -> ApiError:
    """The same for who may not use all models: it tells of none of the others."""
    if rights is None or rights.models is None or not isinstance(error, _Unknown):
        return error
    return no_such_model(error.name, list(filter(rights.has_model, error.names)))


def over(settings: ModelSettings, below: ModelSettings) -> ModelSettings:
    """What the first sets, and else what the second does."""
    if settings == AS_SERVED:
        return below
    fields = {name: getattr(settings, name) for name in ModelSettings.__struct_fields__}
    given = {name: value for name, value in fields.items() if value != getattr(AS_SERVED, name)}
    return replace(below, **{**given, "options": {**below.options, **settings.options}})


def _in_use(member: Member) -> bool:
    return member.resident or bool(member.waiters) or member.loads > 0


def _path(member: Member) -> str:
    return os.path.realpath(member.wanted.source.path)
