"""Turns any exception into the error response that a client gets."""

import logging
import math
import re

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from nitro.errors import (
    ApiError,
    EngineBusy,
    EngineDied,
    EngineDown,
    NitroError,
    PromptRejected,
    PromptTooLong,
    RequestRefused,
    SchemaUnkept,
    ServerClosing,
    TemplateError,
)

log = logging.getLogger("nitro.api")

RETRY_AFTER = 1  # seconds, at least
_SCHEMAS = re.compile(r"response_format|json_schema|(tools|functions)\[.*\.parameters")


def as_api_error(error: Exception, prompt: str = "messages") -> ApiError:
    """What to tell a client of `error`. `prompt` is the parameter that the prompt came from."""
    match error:
        case ApiError():
            return error
        case PromptTooLong():
            return ApiError(
                400,
                f"This model's maximum context length is {error.context} tokens. However, your {prompt} resulted in "
                f"{error.length}. Please reduce the length of the {prompt}.",
                param=prompt,
                code="context_length_exceeded",
            )
        case PromptRejected():
            code = "invalid_json_schema" if _SCHEMAS.fullmatch(error.param or "") else "invalid_value"
            return ApiError(400, str(error), param=error.param or prompt, code=code)
        case SchemaUnkept():  # neither the client's fault nor a failure: asked again, the model may say something else
            return ApiError(422, str(error), param=error.param, type="model_error", code="schema_not_kept")
        case TemplateError():
            return ApiError(400, str(error), param=prompt, code="invalid_value")
        case EngineBusy():
            return ApiError(429, str(error), type="requests", code="rate_limit_exceeded", retry_after=RETRY_AFTER)
        case RequestRefused():
            return ApiError(422, str(error), type="server_error", param=prompt, code="engine_died")
        case EngineDied():
            return ApiError(503, str(error), type="server_error", code="engine_died")
        case EngineDown():
            again = None if error.again is None else max(math.ceil(error.again), RETRY_AFTER)
            return ApiError(503, str(error), type="server_error", retry_after=again)
        case ServerClosing():
            return ApiError(503, str(error), type="server_error", retry_after=RETRY_AFTER)
        case HTTPException() if error.status_code < 500:
            return ApiError(error.status_code, error.detail)
    return ApiError(500, str(error) or repr(error), type="server_error")


def response(error: ApiError) -> Response[bytes]:
    """The HTTP response. It says whether a retry can help, since the OpenAI SDK otherwise repeats every 409 and 5xx."""
    if error.retry_after is None:
        headers = {"x-should-retry": "false"}
    else:
        headers = {"retry-after": str(error.retry_after)}
    body = msgspec.json.encode(error.body)
    return Response(body, status_code=error.status, media_type=MediaType.JSON, headers=headers)


def on_error(_: Request, error: Exception) -> Response[bytes]:
    """Litestar's handler of all other exceptions. Those that are bugs are logged with their traceback."""
    if not isinstance(error, (NitroError, HTTPException)):
        log.error("a request failed", exc_info=error)
    return response(as_api_error(error))


def on_unknown_url(request: Request, _: Exception) -> Response[bytes]:
    """Litestar's handler of 404."""
    return response(ApiError(404, f"Invalid URL ({request.method} {request.scope['path']})", code="unknown_url"))


def on_wrong_method(request: Request, _: Exception) -> Response[bytes]:
    """Litestar's handler of 405. RequestMiddleware adds `Allow`."""
    message = f"Not allowed: {request.method} {request.scope['path']}"
    return response(ApiError(405, message, code="method_not_supported"))
