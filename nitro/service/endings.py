"""How a request ends before an engine has accepted it, by whatever was raised: in the log, and for its client."""

import traceback

from nitro.errors import EngineError, TemplateError
from nitro.service.disconnects import ClientDisconnected
from nitro.service.failures import as_api_error
from nitro.service.request_log import RequestLog


def end(error: BaseException, log: RequestLog, param: str) -> None:
    """Write its log line. Raises what the client is told, where that is something else than `error`. `param`: what the
    protocol calls the prompt."""
    left = not isinstance(error, Exception) or isinstance(error, ClientDisconnected)
    log.end("left" if left else f"error {as_api_error(error, param).status}: {error}")
    _forget(error)
    if left and log.aborted:
        raise as_api_error(log.aborted) from None
    if isinstance(error, (EngineError, TemplateError)):
        raise as_api_error(error, param) from error


def _forget(error: BaseException | None) -> None:
    """Clear the frames that an exception holds: a request may be megabytes, and such frames make cycles, which the
    garbage collector looks for rarely."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
