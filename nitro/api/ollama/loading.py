"""Requests with nothing to answer: they load a model, or unload it."""

from nitro.api.ollama import parse
from nitro.api.ollama.parse import Wants
from nitro.errors import ApiError, EngineError, no_such_model
from nitro.models.lease import Lease
from nitro.models.pool import Pool
from nitro.service.disconnects import unless_disconnected
from nitro.service.failures import as_api_error
from nitro.service.requests import Principal


async def load(pool: Pool, name: str | None, wants: Wants, strict: bool, principal: Principal) -> str:
    """Load a model; returns its id when it is ready. `strict`: its name must be its own. Raises ApiError and
    ClientDisconnected."""
    lease = pool.lease(name, principal.rights)
    try:
        return await unless_disconnected(principal, _load(lease, name, wants, strict, principal))
    except EngineError as error:
        raise as_api_error(error) from None
    finally:
        lease.release()


async def _load(lease: Lease, name: str | None, wants: Wants, strict: bool, principal: Principal) -> str:
    model = await lease.acquire()
    if strict and name and not lease.found:
        raise no_such_model(name, [model.source.id])
    info = await model.engine.ready()
    parse.check_context(wants.context, info.context)
    if principal.may_keep_models:
        lease.keep_alive(wants.keep_alive)
    return model.source.id


async def unload(pool: Pool, name: str | None) -> str:
    """Unload a model, the default where there is no name; one that has requests goes when they have ended. Returns its
    id. Raises ApiError."""
    entry = await pool.find(name) if name else pool.default_entry
    if entry is None:
        raise ApiError(400, "No model is loaded.", param="model", code="model_required")
    try:
        await pool.unload(entry.id)
    except ApiError as error:
        if error.status != 409 or not entry.served:
            raise
        pool.keep_alive(entry.served, 0.0)
    return entry.id
