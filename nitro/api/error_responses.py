"""Turns any exception into the error response that a client gets."""

import logging

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope

from nitro.api import error_forms, other_routes
from nitro.errors import ApiError, NitroError, one_line
from nitro.service import failures

PATIENCE = 120  # seconds that OpenAI's SDK waits at most before it tries again

log = logging.getLogger("nitro.api")
requests = logging.getLogger("nitro.request")


def as_api_error(error: Exception) -> ApiError:
    """What to tell a client of `error`."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        return ApiError(error.status_code, error.detail)
    return failures.as_api_error(error)


def response(error: ApiError, scope: Scope | None = None) -> Response[bytes]:
    """The HTTP response, in the form that the request's protocol has; without its `scope`, in OpenAI's. It says whether
    a retry can help, since the SDKs otherwise repeat every 409 and 5xx."""
    headers = {name.decode(): value.decode() for name, value in retry_headers(error).items()}
    form = error_forms.of_scope(scope) if scope else error_forms.OPENAI
    body = form.body(error, scope["state"]["request_id"] if scope else None)
    return Response(body, status_code=form.status(error), media_type=MediaType.JSON, headers=headers)


def retry_headers(error: ApiError) -> dict[bytes, bytes]:
    """Whether and when the same request may succeed. No program should wait for hours, nor ask again meanwhile."""
    headers = {} if error.retry_after is None else {b"retry-after": b"%d" % error.retry_after}
    if error.retry_after is None or error.retry_after > PATIENCE:
        headers[b"x-should-retry"] = b"false"
    return headers


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
    return response(told, request.scope)


def on_unknown_url(request: Request, _: Exception) -> Response[bytes]:
    """Litestar's handler of 404."""
    path = request.scope["path"]
    advice = other_routes.advice(path, (route.path for route in request.app.routes if "{" not in route.path))
    error = ApiError(404, f"Invalid URL ({request.method} {path}){advice and '.'}{advice}", code="unknown_url")
    refused(request.scope, error)
    return response(error, request.scope)


def on_wrong_method(request: Request, _: Exception) -> Response[bytes]:
    """Litestar's handler of 405. RequestMiddleware adds `Allow`."""
    error = ApiError(405, f"Not allowed: {request.method} {request.scope['path']}", code="method_not_supported")
    refused(request.scope, error)
    return response(error, request.scope)
