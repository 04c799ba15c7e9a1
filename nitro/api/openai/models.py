"""The models that are offered, described. `POST /v1/models/load`, `/unload`: what is loaded."""

import time
from typing import Any, TypeVar

import msgspec
from litestar import Request, post
from msgspec import Struct
from msgspec.structs import replace

from nitro.api import json_body
from nitro.api.callers import rights_of
from nitro.api.openai import model_name, schema
from nitro.api.openai.requests import LoadRequest, UnloadRequest
from nitro.engines.adapters import AdapterInfo, AdapterSource
from nitro.engines.options import EngineOptions
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.types import SAMPLERS, ModelInfo
from nitro.errors import ApiError, EngineError
from nitro.keys.refusals import check_model
from nitro.models.handle import ServedModel
from nitro.models.pool import Pool
from nitro.models.pool_entry import PoolEntry
from nitro.models.settings import ModelSettings
from nitro.service.failures import as_api_error

T = TypeVar("T", bound=Struct)

# A client may not name files, or code, of the server's machine, or machines that it connects to.
NOT_OVER_HTTP = {
    "draft": "names a file",
    "hosts": "names a file of machines, and what is run there",
    "lora": "names files",
    "mmproj": "names a file",
    "rpc": "names machines that get the model's weights",
    "insecure_network": "is the server's",
    "rpc_insecure_network": "is the server's",
    "log_level": "is the server's",
}


def served(request: Request) -> Pool:
    """The models of this application."""
    models: Pool = request.app.state.models
    return models


async def offered(request: Request) -> schema.ModelList:
    """The models that are offered to who asks."""
    entries, rights = await served(request).offered(), rights_of(request)
    offered = [model for entry in entries for model in described(entry)]
    return schema.ModelList([model for model in offered if rights.has_model(model.id)])


async def named(request: Request) -> schema.Model:
    """The one that the path names. Raises ApiError 404."""
    return await model_named(request, str(request.path_params["model_id"]).lstrip("/"))


async def model_named(request: Request, name: str) -> schema.Model:
    """The model or adapter of this name. Raises ApiError 403, 404."""
    rights = rights_of(request)
    entry = await served(request).find(name, rights)
    model = _describe(entry)
    adapter = entry.adapter(name)
    found = _adapted(model, adapter) if adapter else model
    check_model(rights, found.id)
    return found


@post("/v1/models/load", status_code=200)
async def load_model(request: Request) -> schema.Model:
    """Load a model, and answer when it is there. Raises ApiError."""
    asked = read(await request.body(), LoadRequest)
    model = await _told(served(request).load(asked.model, _settings(asked)))
    return _describe(await served(request).find(model.source.id))


@post("/v1/models/unload", status_code=200)
async def unload_model(request: Request) -> schema.Model:
    """End a model's engine, and answer when its memory is back. Raises ApiError."""
    asked = read(await request.body(), UnloadRequest)
    return _describe(await served(request).unload(asked.model, force=bool(asked.force)))


def read(body: bytes, kind: type[T]) -> T:
    """A request about models. Raises ApiError 400, also for a name that would have no effect."""
    decoded = json_body.decode(body, kind)
    for name in decoded.told:
        raise ApiError.unsupported(name, f"is none of {', '.join(kind.__struct_fields__)}")
    return decoded.request


async def _told(loading: Any) -> ServedModel:
    try:
        model: ServedModel = await loading
        return model
    except EngineError as error:
        raise as_api_error(error) from None


def _settings(asked: LoadRequest) -> ModelSettings:
    """Raises ApiError 400 with `param`."""
    return ModelSettings(
        options=_options(asked.options or {}),
        defaults=_converted(asked.defaults or {}, SamplingDefaults, "defaults"),
        keep_alive=model_name.seconds_of(asked.keep_alive),
        pin=bool(asked.pin),
    )


def _options(options: dict[str, Any]) -> dict[str, Any]:
    known = EngineOptions.__struct_fields__
    for name in options:
        if name in NOT_OVER_HTTP:
            raise ApiError.unsupported(f"options.{name}", f"cannot be set over HTTP: it {NOT_OVER_HTTP[name]}")
        if name not in known:
            raise ApiError.unsupported(f"options.{name}", f"is none of {', '.join(known)}")
    if ":" in str(options.get("engine", "")):
        raise ApiError.invalid("options.engine", "the name of an engine")
    _converted(options, EngineOptions, "options")
    return options


def _converted(values: dict[str, Any], kind: Any, param: str) -> Any:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"Invalid value for '{param}': {error}.", param=param, code="invalid_value") from None


class _Abilities(Struct):
    """What a loaded model's template makes of it."""

    chats: bool = False
    tool_format: str | None = None
    native_tools: bool = False
    reasoning: bool = False


def _abilities(model: ServedModel, info: ModelInfo) -> _Abilities:
    if model.template(info) is None:
        return _Abilities()
    family = model.family(info, with_tools=True)
    plain = model.family(info, with_tools=False)
    return _Abilities(True, family.format.name, family.native_tools, plain.reasoning_markers is not None)


def described(entry: PoolEntry) -> list[schema.Model]:
    """A model, and its adapters after it."""
    model = _describe(entry)
    return [model, *(_adapted(model, adapter) for adapter in entry.adapters)]


def _adapted(model: schema.Model, adapter: AdapterSource) -> schema.Model:
    """An adapter, as the model that it makes of its own."""
    size = adapter.bytes if isinstance(adapter, AdapterInfo) else 0
    able = {**model.capabilities, "embeddings": False, "rerank": False}
    return replace(model, id=adapter.name, parent=model.id, size=size, capabilities=able, proof=None, requests=0)


def _describe(entry: PoolEntry) -> schema.Model:
    model = entry.served
    info = model.engine.info if model else None
    able = _abilities(model, info) if model and info else _Abilities()
    generates = info is not None and info.generates
    source = entry.wanted.source
    return schema.Model(
        id=source.id,
        created=source.created,
        context_length=entry.context,
        max_model_len=entry.context,
        engine=info.engine if info else None,
        loaded=info is not None,
        state=entry.state,
        reason=entry.reason,
        size=entry.bytes,
        requests=entry.leases,
        last_used=None if entry.idle is None else int(time.time() - entry.idle),
        pinned=entry.pinned,
        proof=model.proof(info) if model and info else None,
        capabilities={
            "chat": generates and able.chats,
            "completions": generates,
            "embeddings": info is not None and info.embedding is not None,
            "rerank": info is not None and info.rerank is not None,
            "suffix": info is not None and info.infill is not None,
            "structured_output": generates,
            "tools": able.tool_format is not None,
            "native_tools": able.native_tools,
            "reasoning": able.reasoning,
            "draft_model": info is not None and info.has_draft_model,
            **{name: generates and info is not None and name in info.samplers for name in SAMPLERS},
            "vision": info is not None and info.media is not None and info.media.image,
            "audio": info is not None and info.media is not None and info.media.audio,
        },
        tool_format=able.tool_format,
        default_system_message=model.system if model and able.chats else None,
        default_sampling=model.sampling(info).values if model and info else {},
    )
