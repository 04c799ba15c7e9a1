"""Tells whether a reply is honest: a complete answer, or an error in the form of its API."""

from typing import Any

import msgspec

from soak.connection import Reply

CHAT = "/v1/chat/completions"
TEXTS = "/v1/completions"
MAX_ERROR = 8192  # bytes of an error body; a longer one would repeat too much of the request
EVENT = b"data:"
DONE = b"[DONE]"
LINES = "application/x-ndjson"
FAILS = (501,)  # of a route that says that it does nothing
ANTHROPICS_503 = 529
ENDS = {  # the last event of a stream whose events have types
    "message_stop",
    *("response.completed", "response.incomplete", "response.failed"),
    "transcript.text.done",
}


def fault(reply: Reply, refuses: bool = False) -> str | None:
    """What is wrong with the reply, in the same words for the same kind of fault; None: it is honest. `refuses`: the
    route only says that it does nothing."""
    if reply.status == 200:
        kind = reply.headers.get("content-type", "").partition(";")[0]
        how = {"text/event-stream": _fault_of_stream, LINES: _fault_of_lines}.get(kind)
        return how(reply.body) if how else _fault_of_answer(reply)
    if reply.status == 204:
        return None
    if is_failure(reply.status) and not (refuses and reply.status in FAILS):
        return f"status {reply.status}"
    if len(reply.body) > MAX_ERROR:
        return f"status {reply.status}, an error of more than {MAX_ERROR} bytes"
    return None if _is_error(_decoded(reply.body)) else f"status {reply.status} without an error body"


def is_failure(status: int) -> bool:
    """A 5xx, but for 503: in Anthropic's API 529 where waiting may help."""
    return status >= 500 and status not in (503, ANTHROPICS_503)


def _fault_of_lines(body: bytes) -> str | None:
    """Ollama's stream ends with a line that says so, or with an error."""
    last = _decoded(body.rstrip().rpartition(b"\n")[2])
    ended = isinstance(last, dict) and (last.get("done") is True or last.get("status") == "success")
    return None if ended or _is_error(last) else "a stream of lines that does not end"


def _fault_of_answer(reply: Reply) -> str | None:
    if not reply.headers.get("content-type", "").startswith("application/json"):
        return None  # /metrics and the like
    body = _decoded(reply.body)
    if body is None:
        return "status 200 whose body is no JSON"
    if isinstance(body, dict) and any(not choice.get("finish_reason") for choice in body.get("choices", [])):
        return "status 200, a choice that has not ended"
    return None


def _fault_of_stream(body: bytes) -> str | None:
    """A stream must end with [DONE] and a reason for each choice, or with an error."""
    events = [line[len(EVENT) :].strip() for line in body.splitlines() if line.startswith(EVENT)]
    if not events:
        return "a stream of nothing"
    if events[-1] != DONE:
        last = _decoded(events[-1])
        if _is_error(last) or (isinstance(last, dict) and last.get("type") in ENDS):
            return None
        return "a stream that ends without [DONE] or an error"
    if len(events) > 1 and _is_error(_decoded(events[-2])):
        return None
    chunks = [_decoded(event) for event in events[:-1]]
    if not all(isinstance(chunk, dict) for chunk in chunks):
        return "a stream with an event that is no JSON"
    choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
    open_ones = {choice["index"] for choice in choices} - {c["index"] for c in choices if c.get("finish_reason")}
    return "a stream whose choices have not all ended" if open_ones or not choices else None


def is_answer(reply: Reply) -> bool:
    """Is an honest reply a complete answer, and not an error?"""
    return reply.status == 200 and b'"error"' not in reply.body[-MAX_ERROR:]


def _is_error(body: Any) -> bool:
    """OpenAI's and Anthropic's are objects, Ollama's is a text."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return bool(error)
    return isinstance(error, dict) and bool(error.get("message")) and bool(error.get("type"))


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return None
