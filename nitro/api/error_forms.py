"""How an error is written, by the protocol that a request speaks: its status, its body, and the header of its id.

OpenAI's form is that of all requests that speak nothing else. Ollama's is a text, with OpenAI's status. Anthropic's
types and statuses: its API reference; a fault that waiting may mend is an overload (529), which its SDKs raise as one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from litestar.types import Scope
from msgspec import UNSET, Struct, UnsetType

from nitro.errors import ApiError, ContextExceeded

OVERLOADED = 529
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "api_error",
    429: "rate_limit_error",
    OVERLOADED: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """`status`: of the response. `body`: of an error in a request with this id. `id_header`: that its clients look for,
    besides x-request-id."""

    status: Callable[[ApiError], int]
    body: Callable[[ApiError, str | None], bytes]
    id_header: bytes | None = None


class AnthropicErrorDetails(Struct, omit_defaults=True):
    """Our own code for it, and the part of the request that is wrong."""

    error_code: str | None = None
    param: str | None = None


class AnthropicErrorBody(Struct):
    """What is wrong."""

    type: str
    message: str
    details: AnthropicErrorDetails | UnsetType = UNSET


class AnthropicError(Struct, tag_field="type", tag="error"):
    """An error, as a reply or as the last event of a stream."""

    error: AnthropicErrorBody
    request_id: str | None = None


def _anthropic_status(error: ApiError) -> int:
    return OVERLOADED if error.status == 503 and error.retry_after is not None else error.status


def _anthropic_body(error: ApiError, request_id: str | None) -> bytes:
    status = _anthropic_status(error)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    words = str(error)
    if isinstance(error, ContextExceeded):  # Claude Code shortens the conversation where it reads these
        words = f"prompt is too long: {error.prompt_tokens} tokens > {error.context} maximum"
    details = AnthropicErrorDetails(error.code, error.param) if error.code or error.param else UNSET
    return msgspec.json.encode(AnthropicError(AnthropicErrorBody(kind, words, details), request_id))


class OllamaError(Struct):
    """An error, as a reply or as the last line of a stream."""

    error: str


OPENAI = ErrorForm(lambda error: error.status, lambda error, _: msgspec.json.encode(error.body))
ANTHROPIC = ErrorForm(_anthropic_status, _anthropic_body, b"request-id")
OLLAMA = ErrorForm(lambda error: error.status, lambda error, _: msgspec.json.encode(OllamaError(str(error))))

_OLLAMA = re.compile(r"/api/(?!v\d)")  # programs for other APIs have base URLs such as /api/v1


def of(path: str, headers: Mapping[bytes, bytes]) -> ErrorForm:
    """The form for a request. Anthropic's clients send their version to every route."""
    if _OLLAMA.match(path):
        return OLLAMA
    return ANTHROPIC if path.startswith("/v1/messages") or b"anthropic-version" in headers else OPENAI


def of_scope(scope: Scope) -> ErrorForm:
    """The same, of a request's scope."""
    return of(scope["path"], dict(scope["headers"]))
