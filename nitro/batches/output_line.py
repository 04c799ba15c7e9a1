"""Lines of a batch's output, and of its errors.

    {"id": "batch_req_…", "custom_id": "a",
     "response": {"status_code": 200, "request_id": "req_…", "body": {…}}, "error": null}
    {"id": "batch_req_…", "custom_id": "b", "response": null, "error": {"code": "batch_expired", "message": "…"}}

A line that was answered with an error status is among the errors, in the first form. Source: OpenAI's guide to its
Batch API.
"""

import random
from typing import Any

import msgspec
from msgspec import Raw, Struct

from nitro.state.batch_lines import Result

EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
ENDED = ("server_ended", "The server ended again and again while it worked on this request.")


class Reply(Struct, frozen=True, kw_only=True):
    """What a line was answered. `retry_after`: seconds after which it may be answered otherwise. `code`: of the error,
    for programs."""

    status: int
    request_id: str
    body: bytes
    retry_after: int | None = None

    @property
    def code(self) -> str | None:
        """Of an error, for programs."""
        try:
            error = _failed(self.body).error
        except (msgspec.MsgspecError, RecursionError):
            return None
        return error.code if error else None


class _Error(Struct):
    code: str | None = None


class _Failed(Struct):
    error: _Error | None = None


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct):
    """OpenAI's two forms of it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Answer(Struct):
    model: str | None = None
    usage: _Usage | None = None


class _Response(Struct):
    status_code: int
    request_id: str
    body: Raw


class _Output(Struct):
    id: str
    custom_id: str
    response: _Response | None
    error: dict[str, Any] | None


_failed = msgspec.json.Decoder(_Failed).decode
_answer = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def answered(number: int, custom_id: str, reply: Reply) -> Result:
    """Of a line that has a reply."""
    failed = reply.status != 200
    response = _Response(reply.status, reply.request_id, Raw(reply.body or b"null"))
    text = _line(custom_id, response, None)
    if failed:
        return Result(number=number, failed=True, text=text)
    answer = _answer(reply.body)
    usage = answer.usage or _Usage()
    read = usage.prompt_tokens_details or usage.input_tokens_details or _Details()
    written = usage.completion_tokens_details or usage.output_tokens_details or _Details()
    return Result(
        number=number,
        failed=False,
        text=text,
        model=answer.model,
        input_tokens=usage.prompt_tokens or usage.input_tokens,
        cached_tokens=read.cached_tokens or 0,
        output_tokens=usage.completion_tokens or usage.output_tokens,
        reasoning_tokens=written.reasoning_tokens or 0,
    )


def unanswered(number: int, custom_id: str, why: tuple[str, str]) -> Result:
    """Of one that has none. `why`: a code and a sentence."""
    code, message = why
    return Result(number=number, failed=True, text=_line(custom_id, None, {"code": code, "message": message}))


def _line(custom_id: str, response: _Response | None, error: dict[str, Any] | None) -> bytes:
    return _encode(_Output(f"batch_req_{random.getrandbits(96):024x}", custom_id, response, error)) + b"\n"
