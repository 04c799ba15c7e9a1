"""`POST /v1/load_lora_adapter`, `/v1/unload_lora_adapter`: adapters come and go while their model runs.

They are vLLM's routes, whose operators have scripts for them. They name a file of the server's machine, so they are for
those who may see it: who has the key or, where there is none, is on this machine.
"""

from litestar import Request, post
from msgspec.structs import replace

from nitro.api.callers import is_trusted
from nitro.api.openai import models, schema
from nitro.api.openai.requests import LoadAdapterRequest, UnloadAdapterRequest
from nitro.errors import ApiError, EngineError
from nitro.service.failures import as_api_error


@post("/v1/load_lora_adapter", status_code=200)
async def load_adapter(request: Request) -> schema.Model:
    """Load an adapter, and answer when it can be chosen. Raises ApiError."""
    _check_trusted(request)
    asked = models.read(await request.body(), LoadAdapterRequest)
    for name in ("lora_name", "lora_path"):
        if not getattr(asked, name).strip() or "\0" in getattr(asked, name):
            raise ApiError.invalid(name, "a name" if name == "lora_name" else "a path")
    if "=" in asked.lora_name:
        raise ApiError.invalid("lora_name", "a name without '='")
    pool = models.served(request)
    try:
        await pool.adapters.load(asked.lora_name, asked.lora_path, asked.base_model_name, bool(asked.load_inplace))
    except EngineError as error:
        raise as_api_error(error) from None
    return await models.model_named(request, asked.lora_name)


@post("/v1/unload_lora_adapter", status_code=200)
async def unload_adapter(request: Request) -> schema.Model:
    """Unload an adapter, and answer when its memory is back: requests that run with it end first. Raises ApiError."""
    _check_trusted(request)
    asked = models.read(await request.body(), UnloadAdapterRequest)
    pool = models.served(request)
    found = await models.model_named(request, asked.lora_name)
    try:
        await pool.adapters.drop(asked.lora_name, asked.lora_int_id)
    except EngineError as error:
        raise as_api_error(error) from None
    return replace(found, loaded=False, state="unloaded")


def _check_trusted(request: Request) -> None:
    if not is_trusted(request):
        why = "Only who has the key may load and unload adapters or, where there is none, a program on this machine."
        raise ApiError(403, why, code="not_allowed")
