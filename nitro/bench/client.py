"""A chat client that costs little: one socket a request, and of each frame only what is counted is decoded."""

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from nitro.bench.endpoint import Endpoint
from nitro.errors import BenchError

T = TypeVar("T")

DATA, DONE = b"data:", b"[DONE]"
MOST_SAID = 300  # characters of a refusal that are shown


class Refused(BenchError):
    def __init__(self, status: int, reason: str):
        super().__init__(f"the server answers {status}: {reason}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """One streamed answer. Times are seconds since the request was sent."""

    first: float | None  # the first text; None: does not count
    last: float  # the last text
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    gap: float = 0.0  # the longest time between two pieces of text
    text: str = ""  # if it was to be kept
    accepted: int = 0  # tokens of a prediction
    rejected: int = 0

    @property
    def per_token(self) -> float:
        return (self.last - (self.first or 0.0)) / max(self.tokens - 1, 1)


@dataclass(frozen=True)
class Load:
    """What a number of clients saw together."""

    answers: list[Answer]
    seconds: float
    client_cpu: float  # seconds of it

    @property
    def tokens(self) -> int:
        return sum(answer.tokens for answer in self.answers)


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _AnswerDetails(msgspec.Struct):
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _AnswerDetails | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        return self.content or self.reasoning_content or self.reasoning or ""


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Frame(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Frame).decode


def run(work: Coroutine[Any, Any, T]) -> T:
    """On an event loop that costs less than asyncio's own, where there is one."""
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def chats(endpoint: Endpoint, bodies: Sequence[bytes]) -> list[Answer]:
    """One after another."""
    return [await chat(endpoint, body) for body in bodies]


async def chat(
    endpoint: Endpoint, body: bytes, keep_text: bool = False, on_text: Callable[[], None] = lambda: None
) -> Answer:
    """`on_text` is called once, when text has come. Raises BenchError where the server does not answer so."""
    began, request = time.perf_counter(), endpoint.request(body)
    try:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=endpoint.security)
    except (OSError, ssl.SSLError) as error:
        raise BenchError(f"{endpoint.host}:{endpoint.port} cannot be reached: {error}") from None
    try:
        writer.write(request)
        return await read_answer(reader, began, keep_text, on_text)
    except (EOFError, OSError, ValueError, msgspec.MsgspecError) as error:
        what = f"{type(error).__name__}: {error}"
        raise BenchError(f"{endpoint.host}:{endpoint.port} does not answer as this API does ({what})") from None
    finally:
        writer.close()


async def read_answer(
    reader: asyncio.StreamReader,
    began: float,
    keep_text: bool = False,
    on_text: Callable[[], None] = lambda: None,
) -> Answer:
    """A streamed answer, from the status line on."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(maxsplit=2)[1].decode()
    body = _chunks(reader) if b"\r\ntransfer-encoding: chunked" in head else _rest(reader)
    if status != "200":
        said = b"".join([part async for part in body])
        raise Refused(int(status), _reason(said))
    seen = _Seen(began, keep_text, on_text)
    pending = b""
    async for part in body:
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            if line.startswith(DATA) and (data := line[len(DATA) :].strip()) != DONE:
                seen.frame(_decode(data))
    return seen.answer()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """A body in HTTP/1.1 chunks, which need not be whole frames."""
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """A body that ends with the connection, which we ask for."""
    while part := await reader.read(65536):
        yield part


@dataclass
class _Seen:
    """What came of one answer so far."""

    began: float
    keep_text: bool
    on_text: Callable[[], None]
    first: float | None = None
    last: float = 0.0
    gap: float = 0.0
    pieces: int = 0
    usage: _Usage | None = None
    texts: list[str] = field(default_factory=list)

    def frame(self, frame: _Frame) -> None:
        if frame.error:
            raise BenchError(f"the server ended an answer: {_reason(msgspec.json.encode(frame))}")
        self.usage = frame.usage or self.usage
        text = "".join(choice.delta.text for choice in frame.choices)
        if not text:
            return
        now = time.perf_counter() - self.began
        if self.first is None:
            self.first = self.last = now
            self.on_text()
        self.gap, self.last = max(self.gap, now - self.last), now
        self.pieces += 1
        if self.keep_text:
            self.texts.append(text)

    def answer(self) -> Answer:
        """Where a server tells no usage, each piece of text is taken for a token."""
        if self.first is None:
            raise BenchError("the server's answer has no text")
        usage = self.usage or _Usage(0, self.pieces)
        cached = usage.prompt_tokens_details or _PromptDetails()
        predicted = usage.completion_tokens_details or _AnswerDetails()
        return Answer(
            *(self.first, self.last, usage.prompt_tokens, cached.cached_tokens or 0, usage.completion_tokens),
            *(self.gap, "".join(self.texts)),
            *(predicted.accepted_prediction_tokens or 0, predicted.rejected_prediction_tokens or 0),
        )


def _reason(said: bytes) -> str:
    """The message in an error's body, on one line."""
    try:
        found = msgspec.json.decode(said)["error"]
        text = found["message"] if isinstance(found, dict) else str(found)
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = said.decode(errors="replace")
    return " ".join(str(text).split())[:MOST_SAID]
