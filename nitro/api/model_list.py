"""`GET /v1/models`, `/v1/models/ID`: what is offered, in the form that the client's protocol has."""

from litestar import Request, get

from nitro.api import error_forms
from nitro.api.anthropic import models as anthropic
from nitro.api.openai import models, schema


@get("/v1/models")
async def list_models(request: Request) -> schema.ModelList | anthropic.AnthropicModelPage:
    """The models that are offered. Raises ApiError 400 for a page that there is not."""
    offered = await models.offered(request)
    return anthropic.page(offered.data, request.query_params) if _is_anthropic(request) else offered


@get("/v1/models/{model_id:path}")
async def get_model(request: Request) -> schema.Model | anthropic.AnthropicModel:
    """One of them. Raises ApiError 404."""
    found = await models.named(request)
    return anthropic.model(found) if _is_anthropic(request) else found


def _is_anthropic(request: Request) -> bool:
    return error_forms.of_scope(request.scope) is error_forms.ANTHROPIC
