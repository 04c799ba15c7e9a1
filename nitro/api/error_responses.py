"""Turns any exception into the error response that a client gets."""

import logging

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from nitro.errors import ApiError, NitroError
from nitro.service import failures

log = logging.getLogger("nitro.api")


def as_api_error(error: Exception) -> ApiError:
    """What to tell a client of `error`."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        return ApiError(error.status_code, error.detail)
    return failures.as_api_error(error)


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
