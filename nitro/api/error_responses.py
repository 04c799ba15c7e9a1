"""From any exception to the error body a client sees."""

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


def response(fault: ApiError) -> Response[bytes]:
    """The HTTP reply. A failure that a retry cannot mend says so: the OpenAI SDK repeats 409 and 5xx otherwise."""
    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    if fault.retry_after is None:
        headers["x-should-retry"] = "false"
    body = msgspec.json.encode(fault.body)
    return Response(body, status_code=fault.status, media_type=MediaType.JSON, headers=headers)


def on_error(_: Request, error: Exception) -> Response[bytes]:
    fault = as_api_error(error)
    if not isinstance(error, (NitroError, HTTPException)):
        log.error("a request failed", exc_info=error)
    return response(fault)


def on_unknown_url(request: Request, _: Exception) -> Response[bytes]:
    return response(ApiError(404, f"Invalid URL ({request.method} {request.scope['path']})", code="unknown_url"))


def on_wrong_method(request: Request, _: Exception) -> Response[bytes]:
    """Which are allowed, Front adds."""
    message = f"Not allowed: {request.method} {request.scope['path']}"
    return response(ApiError(405, message, code="method_not_supported"))
