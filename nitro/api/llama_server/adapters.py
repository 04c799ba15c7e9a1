"""`GET /lora-adapters`, `POST /lora-adapters`: llama-server's. Which adapters the default model has, or the one that
`?model=` names, and at which scales they are applied to requests that say nothing of adapters."""

import msgspec
from litestar import Request, get, post
from msgspec import Struct

from nitro.api.endpoint import read_body
from nitro.api.openai import lora, models
from nitro.api.openai.requests import LoraScale
from nitro.engines.adapters import AdapterInfo
from nitro.errors import ApiError, EngineError
from nitro.service.failures import as_api_error


class LoraAdapter(Struct):
    """An adapter. `path`: its file's or folder's own name. Nitro knows no tasks and no prompts of an adapter."""

    id: int
    name: str
    path: str
    scale: float
    task_name: str = ""
    prompt_prefix: str = ""


class Success(Struct):
    """What was asked is done."""

    success: bool = True


@get("/lora-adapters")
async def list_adapters(request: Request) -> list[LoraAdapter]:
    """The adapters that are loaded. Raises ApiError."""
    try:
        found = await models.served(request).adapters.of(request.query_params.get("model"))
    except EngineError as error:
        raise as_api_error(error) from None
    return list(map(_described, found))


@post("/lora-adapters", status_code=200)
async def scale_adapters(request: Request) -> Success:
    """Apply these from now on. Raises ApiError."""
    scales = lora.parse(_read(b"".join(await read_body(request))), "") or []
    try:
        await models.served(request).adapters.scale(scales, request.query_params.get("model"))
    except EngineError as error:
        raise as_api_error(error) from None
    return Success()


def _read(body: bytes) -> list[LoraScale]:
    try:
        return msgspec.json.decode(body, type=list[LoraScale])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(400, f'The body is no list of adapters, as in [{{"id": 0, "scale": 1}}]: {error}.') from None


def _described(info: AdapterInfo) -> LoraAdapter:
    return LoraAdapter(info.id, info.name, info.path.replace("\\", "/").rpartition("/")[2], info.scale)


HANDLERS = [list_adapters, scale_adapters]
