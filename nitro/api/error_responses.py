"""Turns any exception into the error response that a client gets, in the form of the API that it asked."""

import logging
import re
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope

from nitro.api import other_routes
from nitro.errors import ApiError, NitroError, one_line
from nitro.service import failures

_OLLAMA = re.compile(r"/api/(?!v\d)")  # programs for other APIs have base URLs such as /api/v1

log = logging.getLogger("nitro.api")
requests = logging.getLogger("nitro.request")


def as_api_error(error: Exception) -> ApiError:
    """What to tell a client of `error`."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        return ApiError(error.status_code, error.detail)
    return failures.as_api_error(error)


def body(error: ApiError, path: str = "") -> Any:
    """The JSON of an error: OpenAI's and, below /api, Ollama's."""
    return {"error": str(error)} if _OLLAMA.match(path) else error.body


def response(error: ApiError, path: str = "") -> Response[bytes]:
    """The HTTP response. It says whether a retry can help, since the OpenAI SDK otherwise repeats every 409 and 5xx.
    `path`: what was asked."""
    if error.retry_after is None:
        headers = {"x-should-retry": "false"}
    else:
        headers = {"retry-after": str(error.retry_after)}
    content = msgspec.json.encode(body(error, path))
    return Response(content, status_code=error.status, media_type=MediaType.JSON, headers=headers)


def refused(scope: Scope, error: ApiError) -> None:
    """Write the log line of a request that reached no generation, which would write its own."""
    asked = f"{scope['method']} {scope['path']}"  # type: ignore[typeddict-item]
    address = (scope["client"] or ("-",))[0]
    words = one_line(str(error))
    requests.info(
        "%s - error %d: %s (%s from %s)", scope["state"]["request_id"], error.status, words, one_line(asked), address
    )


def on_error(request: Request, error: Exception) -> Response[bytes]:
    """Litestar's handler of all other exceptions. Those that are bugs are logged with their traceback."""
    told = as_api_error(error)
    if isinstance(error, (NitroError, HTTPException)):
        refused(request.scope, told)
    else:
        log.error("a request failed", exc_info=error)
    return response(told, request.scope["path"])


def on_unknown_url(request: Request, _: Exception) -> Response[bytes]:
    """Litestar's handler of 404."""
    path = request.scope["path"]
    advice = other_routes.advice(path, (route.path for route in request.app.routes if "{" not in route.path))
    error = ApiError(404, f"Invalid URL ({request.method} {path}){advice and '.'}{advice}", code="unknown_url")
    refused(request.scope, error)
    return response(error, path)


def on_wrong_method(request: Request, _: Exception) -> Response[bytes]:
    """Litestar's handler of 405. RequestMiddleware adds `Allow`."""
    error = ApiError(405, f"Not allowed: {request.method} {request.scope['path']}", code="method_not_supported")
    refused(request.scope, error)
    return response(error, request.scope["path"])
