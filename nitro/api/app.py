"""The HTTP application: routes, error bodies, limits."""

from collections.abc import Callable

from litestar import Litestar
from litestar.datastructures import State
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from nitro import __version__
from nitro.api import cache_deletion, error_responses, health, model_list, page, records, usage
from nitro.api import live as live_routes
from nitro.api.anthropic import routes as anthropic
from nitro.api.audio import routes as audio
from nitro.api.auth import Guard
from nitro.api.batches import routes as batches
from nitro.api.drain import Drain
from nitro.api.files import in_parts
from nitro.api.files import routes as files
from nitro.api.files.filing import Filing
from nitro.api.first_nitro import routes as first_nitro
from nitro.api.first_nitro.model import FirstNitro
from nitro.api.llama_server import adapters as llama_adapters
from nitro.api.llama_server import routes as llama_server
from nitro.api.middleware import RequestMiddleware
from nitro.api.ollama import routes as ollama
from nitro.api.openai import adapters, models
from nitro.api.openai.chat import chat_completions
from nitro.api.openai.completions import completions
from nitro.api.openai.embeddings import embeddings
from nitro.api.openai.token_counts import chat_input_tokens
from nitro.api.openapi.document import openapi_document
from nitro.api.rerank import routes as rerank
from nitro.api.responses import conversations
from nitro.api.responses import routes as responses
from nitro.api.responses.background import Background
from nitro.api.responses.memory import Memory
from nitro.api.responses.renderer import ResponsesRenderer
from nitro.engines.prefix_files.folder import PrefixFolder
from nitro.keys.ring import KeyRing
from nitro.models.fetching import Fetching
from nitro.models.pool import Pool
from nitro.records.recorder import Recorder
from nitro.service.embedding import EmbeddingService
from nitro.service.generation import GenerationService
from nitro.service.live.feed import Feed
from nitro.service.live.watches import Watches
from nitro.service.metrics import Metrics
from nitro.service.tokens import TokenService

FORM = 2**21  # bytes of an upload besides the file


class _Application(Litestar):
    """Litestar without the plugins for Pydantic and attrs, which it imports wherever those are installed: 70 ms
    of the server's start, and 9 MiB."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def make_app(
    served: Pool,
    service: GenerationService,
    guard: Guard,
    metrics: Metrics,
    max_body: int = 32 * 2**20,
    stop: Callable[[], None] = lambda: None,
    kept: Background | None = None,
    embedding: EmbeddingService | None = None,
    fetching: Fetching | None = None,
    recorder: Recorder | None = None,
    live: Feed | None = None,
    keys: KeyRing | None = None,
    prefixes: PrefixFolder | None = None,
    filing: Filing | None = None,
    drain: Drain | None = None,
) -> RequestMiddleware:
    """The ASGI application over these models. `max_body`: bytes of a request's body. `stop`: begins to stop the
    server. `kept`: responses in the background, with the memory of all; None: nothing is kept. Without `embedding`
    nothing is embedded; without `fetching` models neither come nor go; without `recorder` nothing is recorded. `live`:
    tells what the server is doing. `keys`: of a file. `prefixes`: where they are kept in files. `filing`: files and
    batches; None: there are none. `drain`: tells whether the server ends."""
    drain = drain or Drain()
    filing = filing or Filing()
    kept = kept or Background(Memory(None), service, served, ResponsesRenderer, 1)
    first = FirstNitro(served, stop, service.strict)
    app = _Application(
        [
            chat_completions,
            chat_input_tokens,
            completions,
            embeddings,
            rerank.rerank,
            rerank.score,
            *audio.HANDLERS,
            anthropic.messages,
            anthropic.count_tokens,
            model_list.list_models,
            model_list.get_model,
            models.load_model,
            models.unload_model,
            usage.get_usage,
            adapters.load_adapter,
            adapters.unload_adapter,
            health.health,
            health.healthz,
            health.metrics,
            *live_routes.HANDLERS,
            openapi_document,
            *page.HANDLERS,
            *llama_server.HANDLERS,
            *llama_adapters.HANDLERS,
            *first_nitro.HANDLERS,
            *ollama.HANDLERS,
            *responses.HANDLERS,
            *conversations.HANDLERS,
            *records.HANDLERS,
            *cache_deletion.HANDLERS,
            *files.HANDLERS,
            *in_parts.HANDLERS,
            *batches.HANDLERS,
        ],
        state=State(
            {
                "models": served,
                "service": service,
                "embedding": embedding,
                "tokens": TokenService(service),
                "metrics": metrics,
                "first_nitro": first,
                "memory": kept.memory,
                "background": kept,
                "fetching": fetching or Fetching(served, None, allowed=False),
                "has_key": guard.has_key,
                "key_ring": keys,
                "recorder": recorder,
                "prefixes": prefixes,
                "filing": filing,
                "drain": drain,
                "live": live or Feed(Watches(served, metrics), service.requests, __version__),
            }
        ),
        exception_handlers={
            NotFoundException: error_responses.on_unknown_url,
            MethodNotAllowedException: error_responses.on_wrong_method,
            Exception: error_responses.on_error,
        },
        request_max_body_size=None,  # RequestMiddleware limits it
        openapi_config=None,
        logging_config=None,
    )
    larger = {
        files.PATH: (filing.max_file + FORM, "start the server with a larger --max-file"),
        f"{in_parts.PATH}/[^/]+/parts": (in_parts.LARGEST_PART + FORM, "send the file in smaller parts"),
    }
    return RequestMiddleware(app, guard, metrics, max_body, recorder, larger, drain)
