"""The HTTP application: routes, error bodies, limits."""

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import MethodNotAllowedException, NotFoundException

from nitro.api import faults, models
from nitro.api.chat import chat_completions
from nitro.api.completions import completions
from nitro.api.front import Front
from nitro.api.intake import Intake
from nitro.api.schema import schema
from nitro.api.security import Guard
from nitro.metrics import Metrics
from nitro.models.served import ServedModels

BODY_LIMIT = 256 * 2**20  # bytes


def make_app(served: ServedModels, intake: Intake, guard: Guard, metrics: Metrics, strict: bool = False) -> Front:
    """The ASGI application over these models. `strict`: what would be ignored in a request is refused."""
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
            NotFoundException: faults.on_unknown_url,
            MethodNotAllowedException: faults.on_wrong_method,
            Exception: faults.on_error,
        },
        request_max_body_size=BODY_LIMIT,
        openapi_config=None,
        logging_config=None,
    )
    return Front(app, guard, metrics)
