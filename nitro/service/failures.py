"""From the errors of engines and templates to what a client is told: an HTTP status and the words of the OpenAI API,
which other protocols translate."""

import math
import re

from nitro.errors import (
    ApiError,
    ContextExceeded,
    EngineBusy,
    EngineDied,
    EngineDown,
    EngineOutOfMemory,
    PromptRejected,
    PromptTooLong,
    RequestAborted,
    RequestRefused,
    RequestTooLarge,
    SchemaViolated,
    ServerClosing,
    StateError,
    TemplateError,
)

RETRY_AFTER = 1  # seconds, at least
OUT_OF_MEMORY = "out_of_memory"
_SCHEMAS = re.compile(r"response_format|json_schema|(tools|functions)\[.*\.parameters")


def as_api_error(error: BaseException, prompt: str = "messages") -> ApiError:
    """What to tell a client of `error`. `prompt` is the parameter that the prompt came from."""
    match error:
        case ApiError():
            return error
        case PromptTooLong():
            return ContextExceeded(error, error.param or prompt)
        case PromptRejected():
            code = "invalid_json_schema" if _SCHEMAS.fullmatch(error.param or "") else "invalid_value"
            return ApiError(400, str(error), param=error.param or prompt, code=code)
        case SchemaViolated():  # neither the client's fault nor a failure: a retry may well succeed
            return ApiError(422, str(error), param=error.param, type="model_error", code="schema_not_kept")
        case TemplateError():
            return ApiError(400, str(error), param=error.param or prompt, code="invalid_value")
        case EngineBusy():
            return ApiError(429, str(error), type="requests", code="rate_limit_exceeded", retry_after=RETRY_AFTER)
        case RequestRefused():
            return ApiError(422, str(error), type="server_error", param=prompt, code="engine_died")
        case RequestAborted():
            return ApiError(503, str(error), type="server_error", code="request_aborted")
        case EngineDied():
            return ApiError(503, str(error), type="server_error", code="engine_died")
        case RequestTooLarge():
            return ApiError(503, str(error), type="server_error", code=OUT_OF_MEMORY)
        case EngineDown():
            again = None if error.again is None else max(math.ceil(error.again), RETRY_AFTER)
            cause = OUT_OF_MEMORY if isinstance(error, EngineOutOfMemory) else None
            return ApiError(503, str(error), type="server_error", code=cause, retry_after=again)
        case ServerClosing():
            return ApiError(503, str(error), type="server_error", retry_after=RETRY_AFTER)
        case StateError():
            status = 507 if error.code == "state_full" else 503
            return ApiError(status, str(error), type="server_error", code=error.code, retry_after=error.again)
    return ApiError(500, str(error) or repr(error), type="server_error")
