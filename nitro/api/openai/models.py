"""`GET /v1/models`, `/health`, `/healthz`, `/metrics`: what is served, whether it is alive, what it has done."""

from litestar import MediaType, Request, Response, get

from nitro.api.openai import schema
from nitro.engines.types import SAMPLERS
from nitro.errors import no_such_model
from nitro.models.handle import ServedModel, ServedModels
from nitro.service.metrics import CONTENT_TYPE, Metrics

NOT_YET = {"embeddings": False, "vision": False}


def served(request: Request) -> ServedModels:
    """The models of this application."""
    models: ServedModels = request.app.state.models
    return models


@get("/v1/models")
async def list_models(request: Request) -> schema.ModelList:
    return schema.ModelList([_describe(served(request).default)])


@get("/v1/models/{model_id:path}")
async def get_model(request: Request) -> schema.Model:
    model, model_id = served(request).default, str(request.path_params["model_id"]).lstrip("/")
    if model_id not in model.names:
        raise no_such_model(model_id, model.source.id)
    return _describe(model)


def _describe(model: ServedModel) -> schema.Model:
    info = model.engine.info
    context = info.context if info else None
    chats = info is not None and model.template(info) is not None
    family = model.family(info) if info and chats else None
    return schema.Model(
        id=model.source.id,
        created=model.source.created,
        context_length=context,
        max_model_len=context,
        engine=info.engine if info else None,
        loaded=info is not None,
        proof=model.proof(info) if info else None,
        capabilities={
            "chat": chats,
            "completions": info is not None,
            "suffix": info is not None and info.infill is not None,
            "structured_output": info is not None,
            "tools": family is not None,
            "native_tools": family is not None and family.native_tools,
            "reasoning": family is not None and family.reasoning_markers is not None,
            **{name: info is not None and name in info.samplers for name in SAMPLERS},
            **NOT_YET,
        },
        tool_format=family.format.name if family else None,
    )


@get("/metrics")
async def metrics(request: Request) -> Response[bytes]:
    told: Metrics = request.app.state.metrics
    return Response(told.text(), media_type=CONTENT_TYPE)


@get("/health")
async def health(request: Request) -> Response[schema.Health]:
    engine = served(request).default.engine
    if reason := engine.stalled:
        return Response(schema.Health("stalled", reason), status_code=503)
    if engine.info is not None:
        return Response(schema.Health("ok"))
    if engine.down:
        return Response(schema.Health("down", engine.failure or "The server is stopping."), status_code=503)
    if engine.failure is None:
        return Response(schema.Health("loading"), status_code=503)
    return Response(schema.Health("restarting", engine.failure), status_code=503)


@get("/healthz", media_type=MediaType.HTML)
async def healthz(request: Request) -> Response[str]:
    """The first Nitro's words."""
    engine = served(request).default.engine
    if engine.info is not None and not engine.stalled:
        return Response("Nitro is alive!!!")
    return Response("Nitro has no model ready.", status_code=503)
