"""`GET /v1/models` and `/v1/models/ID`: what is served."""

from litestar import Request, get

from nitro.api.openai import schema
from nitro.engines.types import SAMPLERS
from nitro.errors import no_such_model
from nitro.models.handle import ServedModel, ServedModels

NOT_YET = {"embeddings": False, "vision": False}


def served(request: Request) -> ServedModels:
    """The models of this application."""
    models: ServedModels = request.app.state.models
    return models


@get("/v1/models")
async def list_models(request: Request) -> schema.ModelList:
    """The models that are served."""
    return schema.ModelList([_describe(served(request).default)])


@get("/v1/models/{model_id:path}")
async def get_model(request: Request) -> schema.Model:
    """One of them. Raises ApiError 404."""
    model, model_id = served(request).default, str(request.path_params["model_id"]).lstrip("/")
    if model_id not in model.names:
        raise no_such_model(model_id, model.source.id)
    return _describe(model)


def _describe(model: ServedModel) -> schema.Model:
    info = model.engine.info
    context = info.context if info else None
    chats = info is not None and model.template(info) is not None
    family = model.family(info, with_tools=True) if info and chats else None
    plain = model.family(info, with_tools=False) if info and chats else None
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
            "reasoning": plain is not None and plain.reasoning_markers is not None,
            "draft_model": info is not None and info.has_draft_model,
            **{name: info is not None and name in info.samplers for name in SAMPLERS},
            **NOT_YET,
        },
        tool_format=family.format.name if family else None,
        default_system_message=model.system if chats else None,
        default_sampling=model.sampling(info).values if info else {},
    )
