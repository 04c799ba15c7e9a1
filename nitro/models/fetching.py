"""Models that come and go while a server runs, because a client says so: pulls, and the removal of what was pulled."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nitro.errors import ApiError, PullError, StartError, no_such_model
from nitro.models import names
from nitro.models.catalog import AmbiguousName, Catalog, NameNotFound
from nitro.models.pool import Pool
from nitro.models.pull import command
from nitro.models.pull import names as hub_names
from nitro.models.stored_model import StoredModel

MAX_PULLS = 4  # at a time: each has a process and several connections
AGAIN = 10  # seconds after which a refused pull may be tried again

OFF = "This server fetches and removes no models: it was started with --no-pull"
ONE_MODEL = "This server offers what it was started with, and no models that are fetched; start it without MODEL"

# by a PullError's code: the status of a reply; else 502
STATUSES = {
    "bad_name": 400,
    "no_choice": 400,
    "gated": 403,
    "token": 403,
    "forbidden": 403,
    "not_found": 404,
    "no_revision": 404,
    "rate_limit": 429,
    "disk": 507,
    "disk_full": 507,
    "offline": 503,
    "died": 500,
}


class Fetching:
    """Belongs to the event loop. `catalog`: what the server offers by name. `allowed`: whether clients may do this."""

    def __init__(self, pool: Pool, catalog: Catalog | None, allowed: bool = True):
        self._pool, self._catalog, self._allowed = pool, catalog, allowed
        self._pulls = 0

    def check(self) -> Catalog:
        """Raises ApiError 403 where models neither come nor go."""
        if not self._allowed:
            raise ApiError(403, f"{OFF}.", code="pull_not_allowed")
        if self._catalog is None or not self._catalog.everything:
            raise ApiError(403, f"{ONE_MODEL}.", code="pull_not_allowed")
        return self._catalog

    async def pull(self, name: str) -> AsyncGenerator[command.Event, None]:
        """What happens while a model of the hub is fetched, "org/name" or "org/name:type". Raises ApiError."""
        self.check()
        if self._pulls >= MAX_PULLS:
            raise ApiError(429, f"{MAX_PULLS} models are being fetched; wait for one.", retry_after=AGAIN)
        self._pulls += 1
        try:
            hub_names.parse(name)
            async with aclosing(command.events(name)) as events:
                async for event in events:
                    yield event
        except PullError as error:
            status = STATUSES.get(error.code, 502)
            raise ApiError(status, str(error), code=error.code, retry_after=error.retry_after) from None
        finally:
            self._pulls -= 1

    async def remove(self, name: str) -> None:
        """Remove a model that Nitro has fetched, by its whole name. One that is loaded is unloaded first. Raises
        ApiError: 404 for none of this name, 403 where it is not Nitro's, 409 where requests run on it."""
        catalog = self.check()
        from nitro.models import removal  # imported when it is needed: it is rarely

        model = await asyncio.to_thread(_exactly, catalog, name)
        try:
            removal.check(model)
        except StartError as error:
            raise ApiError(403, str(error), param="model", code="not_removable") from None
        await self._pool.forget(model.path)
        try:
            await asyncio.to_thread(removal.remove, model, catalog.models())
        except (OSError, StartError) as error:
            raise ApiError(500, f"'{model.name}' could not be removed: {error}", type="server_error") from None


def _exactly(catalog: Catalog, name: str) -> StoredModel:
    """The model of this whole name: a part of one is enough to ask a model, and not to remove it. Raises ApiError."""
    try:
        found = catalog.find(name)
    except AmbiguousName as error:
        raise ApiError(400, str(error), param="model", code="model_ambiguous") from None
    except NameNotFound as error:
        raise no_such_model(name, error.known) from None
    alias = catalog.settings(found).alias
    known = {each.casefold() for each in (found.name, *found.names, *([alias] if alias else []))}
    if not known & {spelling.casefold() for spelling in names.spellings(name.strip())}:
        raise no_such_model(name, [found.name])
    return found
