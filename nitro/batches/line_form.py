"""A line of a batch's file, read as far as it has to be known before it is answered.

    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {…}}

What is inside `body` is read when it is answered, as a request's body always is: its faults are that line's alone.
Source: OpenAI's guide to its Batch API, and `types/batch_error.py` of the Python SDK 3.54.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from nitro.batches import prefix_key
from nitro.state.batch_lines import Place

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
MAX_ID = 512  # characters
ALONE = ("stream", "background")  # ask for another kind of reply than a line can have


class Fault(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is wrong with a line, in OpenAI's form. `line`: from 1; None: it is of the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BadLine(Exception):
    """A line is none of a batch."""

    def __init__(self, code: str, message: str, param: str | None = None):
        super().__init__(message)
        self.code, self.param = code, param

    def at(self, line: int) -> Fault:
        """Where it is."""
        return Fault(code=self.code, message=str(self), line=line, param=self.param)


class ReadLine(Struct, frozen=True):
    """A line that can be answered."""

    custom_id: str
    place: Place


class _Line(Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: Raw = Raw(b"null")


class _Body(Struct):
    model: Any = None
    stream: Any = None
    background: Any = None
    tools: Raw = Raw(b"")
    instructions: Raw = Raw(b"")
    messages: Raw = Raw(b"")
    prompt: Raw = Raw(b"")
    input: Raw = Raw(b"")


class _Request(Struct):
    custom_id: str
    body: Raw


_line = msgspec.json.Decoder(_Line).decode
_body = msgspec.json.Decoder(_Body).decode
_request = msgspec.json.Decoder(_Request).decode


def read(data: bytes, number: int, endpoint: str) -> ReadLine:
    """Check a line. Raises BadLine."""
    try:
        line = _line(data)
    except msgspec.ValidationError:
        raise BadLine("invalid_json_line", "This line is not a JSON object.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadLine("invalid_json_line", f"This line is not valid JSON: {error}.") from None
    _check_id(line.custom_id)
    if line.method != "POST":
        raise _wrong("method", "POST", line.method, "invalid_method")
    if line.url != endpoint:
        raise _wrong("url", f"'{endpoint}', the endpoint of the batch", line.url, "invalid_url")
    if bytes(line.body) == b"null":
        raise BadLine("missing_required_parameter", "Missing required parameter: 'body'.", "body")
    body = _read_body(line.body)
    model = body.model if isinstance(body.model, str) else ""
    prompt = (body.tools, body.instructions, body.messages, body.prompt, body.input)
    return ReadLine(line.custom_id, Place(model, prefix_key.of(b"".join(map(bytes, prompt))), number))


def request(data: bytes) -> bytes:
    """The body of a line that was checked."""
    return bytes(_request(data).body)


def _check_id(given: Any) -> None:
    if given is None:
        raise BadLine("missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id")
    if not isinstance(given, str) or not 0 < len(given) <= MAX_ID:
        raise _wrong("custom_id", f"a text of 1 to {MAX_ID} characters", given)


def _read_body(data: Raw) -> _Body:
    try:
        body = _body(data)
    except msgspec.ValidationError:
        raise _wrong("body", "an object") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadLine("invalid_json_line", f"This line is not valid JSON: {error}.", "body") from None
    for name in ALONE:
        if getattr(body, name) not in (None, False):
            why = f"Unsupported parameter: 'body.{name}' cannot be used in a batch."
            raise BadLine("unsupported_parameter", why, f"body.{name}")
    return body


def _wrong(param: str, expected: str, got: Any = None, code: str = "invalid_value") -> BadLine:
    told = f", got '{got[:100]}'" if isinstance(got, str) else ""
    return BadLine(code, f"Invalid value for '{param}': expected {expected}{told}.", param)
