"""The HTTP application: routes, error bodies, limits."""

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import MethodNotAllowedException, NotFoundException

from nitro.api import error_responses
from nitro.api.auth import Guard
from nitro.api.middleware import RequestMiddleware
from nitro.api.openai import models
from nitro.api.openai.chat import chat_completions
from nitro.api.openai.completions import completions
from nitro.api.openapi.document import schema
from nitro.models.handle import ServedModels
from nitro.service.intake import Intake
from nitro.service.metrics import Metrics


def make_app(
    served: ServedModels,
    intake: Intake,
    guard: Guard,
    metrics: Metrics,
    max_body: int = 32 * 2**20,
    strict: bool = False,
) -> RequestMiddleware:
    """The ASGI application over these models. `max_body`: bytes of a request's body. `strict`: what would be ignored in
    a request is refused."""
    app = Litestar(
        [
            chat_completions,
            completions,
            models.list_models,
            models.get_model,
            models.health,
            models.healthz,
            models.metrics,
            schema,
        ],
        state=State({"models": served, "intake": intake, "metrics": metrics, "strict": strict}),
        exception_handlers={
            NotFoundException: error_responses.on_unknown_url,
            MethodNotAllowedException: error_responses.on_wrong_method,
            Exception: error_responses.on_error,
        },
        request_max_body_size=None,  # RequestMiddleware limits it
        openapi_config=None,
        logging_config=None,
    )
    return RequestMiddleware(app, guard, metrics, max_body)
