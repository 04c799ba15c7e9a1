"""What a file of records is: JSON lines, each with its `kind`.

    {"kind": "file", …}      the first line: who wrote it
    {"kind": "template", …}  a chat template, before the first exchange that was made with it
    {"kind": "exchange", …}  a request and its reply

A record of one request is such a file with one exchange. Keys, `Authorization` and cookies are in none.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from nitro.errors import RecordError

NONE = Raw(b"null")  # no JSON, or the JSON null
FORM = 1  # of the files; a reader refuses a later one


class AnswerCall(Struct, frozen=True, omit_defaults=True):
    """A tool call in an answer. `arguments`: JSON."""

    name: str
    arguments: str = ""


class AnswerChoice(Struct, frozen=True, omit_defaults=True):
    """One of a reply's answers."""

    text: str = ""
    reasoning: str = ""
    calls: list[AnswerCall] = []
    finish: str | None = None  # as its protocol calls it


class Answer(Struct, frozen=True, omit_defaults=True):
    """What a reply says, whatever its protocol, and whether it was a stream."""

    choices: list[AnswerChoice] = []
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprint: str | None = None
    error: str | None = None  # its message
    vectors: list[list[float]] = []  # of embeddings, and the scores of documents


class Served(Struct, frozen=True, omit_defaults=True):
    """What the server knew of the request. Seconds count from the request's head on."""

    model: str | None = None
    adapter: str | None = None
    fingerprint: str | None = None  # changes when a seed may no longer give the same text
    template: str | None = None  # the digest of the chat template, if it took one
    queue_seconds: float | None = None
    first_token_seconds: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    finish: list[str] = []
    error: str | None = None


class Exchange(Struct, tag="exchange", tag_field="kind", omit_defaults=True):
    """A request and its reply. Of a body that is JSON, `request` and `reply` are that; else the texts are what came."""

    id: str
    at: float  # Unix time when its head had come
    path: str
    query: str = ""
    headers: dict[str, str] = {}  # those that change an answer
    request: Raw = NONE
    request_text: str | None = None
    history: Raw = NONE  # of a Response: what the server remembered for it, see api/responses/history.py
    status: int = 0  # 0: none was sent
    media_type: str = ""
    reply: Raw = NONE
    reply_text: str | None = None
    stream: list[tuple[float, str]] | None = None  # what was written together, and how many seconds after `at`
    ended: str = "whole"  # or "left": the client did not wait for its end
    first_seconds: float | None = None  # until the first byte of the reply's body
    seconds: float = 0.0  # until its end
    served: Served = Served()
    answer: Answer | None = None  # in place of the reply, where that was redacted
    redacted: bool = False

    @property
    def is_json(self) -> bool:
        """Whether the request's body was JSON."""
        return self.request_text is None and bytes(self.request) != bytes(NONE)

    @property
    def remembers(self) -> bool:
        """Whether it has a history."""
        return bytes(self.history) != bytes(NONE)


class Template(Struct, tag="template", tag_field="kind"):
    """A chat template."""

    digest: str
    text: str


class Head(Struct, tag="file", tag_field="kind", omit_defaults=True):
    """Who wrote a file, and when."""

    form: int
    nitro: str
    made: float  # Unix time
    redacted: bool = False


Line = Head | Template | Exchange
_encoder = msgspec.json.Encoder()
_decode: Callable[[bytes], Line] = msgspec.json.Decoder(Line).decode


@lru_cache(16)
def digest(template: str) -> str:
    """By which an exchange names its template."""
    return "sha256:" + hashlib.sha256(template.encode(errors="surrogatepass")).hexdigest()


def with_template(served: Served, digest: str) -> Served:
    """The same, made with this template."""
    return replace(served, template=digest)


def encode(line: Line) -> bytes:
    """A line, with its end."""
    return _encoder.encode(line) + b"\n"


def decode(data: bytes) -> Line:
    """A line. Raises RecordError."""
    try:
        line = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"this is no line of a record: {error}") from None
    if isinstance(line, Head) and line.form > FORM:
        raise RecordError(f"its form is {line.form}, and this Nitro reads forms up to {FORM}. Take a newer one.")
    return line


def lines_of(exchange: Exchange, template: Template | None, head: Head) -> list[Line]:
    """A record of one request: a whole file."""
    return [head, *([template] if template else []), exchange]


def body(raw: bytes) -> tuple[Raw, str | None]:
    """A body as a record has it: on one line where it is JSON that can be read here, else as text: JSON may have
    numbers for which there is no room."""
    if not raw:
        return NONE, None
    try:
        raw.decode()  # the next lines take any bytes
        msgspec.json.decode(raw)
        return Raw(msgspec.json.format(raw, indent=-1)), None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NONE, raw.decode(errors="replace")


def value(raw: Raw) -> Any:
    """The JSON in a field of an exchange. Raises RecordError."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RecordError(f"this is no line of a record: {error}") from None


def raw(value: Any) -> Raw:
    """The other way round."""
    return Raw(_encoder.encode(value))


def read_lines(lines: Iterator[bytes], name: str) -> Iterator[Line]:
    """The lines of a file. Raises RecordError, which names file and line."""
    for number, data in enumerate(lines, 1):
        if not data.strip():
            continue
        try:
            yield decode(data)
        except RecordError as error:
            raise RecordError(f"{name}, line {number}: {error}") from None
