"""A chat client that costs little: one socket per request, and of each event only what is counted is decoded."""

import asyncio
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from httptools import HttpParserError

from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.http_response import HttpResponse
from nitro.errors import BenchError
from nitro.system import http_clients

T = TypeVar("T")

DATA = b"data:"
DONE = b"[DONE]"
MAX_REASON = 300  # characters of a refusal that are shown
READ_SIZE = 65536
CONNECT_TIMEOUT = 30.0  # seconds
SILENCE_TIMEOUT = 600.0  # seconds without a byte after which a server is given up; the OpenAI SDK waits as long


class BenchRefused(BenchError):
    """The server answered with a status other than 200."""

    def __init__(self, status: int, reason: str):
        super().__init__(f"the server answers {status}: {reason}")
        self.status = status


@dataclass(frozen=True)
class MeasuredAnswer:
    """One streamed answer. Times are seconds since the request was sent."""

    ttft: float | None  # time to the first text; None: not counted
    duration: float  # until the last text
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    longest_gap: float = 0.0  # seconds between two pieces of text
    text: str = ""  # empty unless it was to be kept
    accepted: int = 0  # tokens of a prediction
    rejected: int = 0
    drafted: int = 0  # tokens of all drafts, whatever guessed them; 0 where the server does not tell
    drafts_accepted: int = 0

    @property
    def per_token(self) -> float:
        """Seconds per token, after the first one."""
        return (self.duration - (self.ttft or 0.0)) / max(self.tokens - 1, 1)


@dataclass(frozen=True)
class LoadResult:
    """The answers that several clients got at the same time, and those of others that only kept the server busy."""

    answers: list[MeasuredAnswer]
    seconds: float
    client_cpu: float  # seconds of CPU time
    others: list[MeasuredAnswer] = field(default_factory=list)  # which no figure counts

    @property
    def tokens(self) -> int:
        """The tokens of all answers."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def drafts(self) -> tuple[int, int]:
        """Of all answers: the tokens that were drafted, and how many of them were accepted."""
        return sum(answer.drafted for answer in self.answers), sum(answer.drafts_accepted for answer in self.answers)


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


class _EventChoice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Event(msgspec.Struct):
    choices: list[_EventChoice] = []
    usage: _Usage | None = None
    timings: Any = None  # as llama-server has them; other servers may mean something else
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, which costs less than asyncio's own event loop, where there is one."""
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


async def chats(endpoint: BenchEndpoint, bodies: Sequence[bytes]) -> list[MeasuredAnswer]:
    """Send requests one after another. Raises BenchError."""
    return [await chat(endpoint, body) for body in bodies]


async def chat(
    endpoint: BenchEndpoint,
    body: bytes,
    keep_text: bool = False,
    on_text: Callable[[], None] = lambda: None,
    times: list[float] | None = None,
) -> MeasuredAnswer:
    """Send one request and read its answer. `on_text` is called once, when the first text arrives. `times` gets when
    each text arrives (time.perf_counter), at once.

    Raises BenchError where the server cannot be reached, refuses, does not speak this API, or falls silent.
    """
    began = time.perf_counter()
    request = endpoint.http_request(body)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            reader, writer = await _connected(endpoint)
    except (OSError, ssl.SSLError) as error:
        timed_out = isinstance(error, TimeoutError) and not str(error)
        reason = f"no connection within {CONNECT_TIMEOUT:g} s" if timed_out else http_clients.reason(error)
        raise BenchError(f"{endpoint.place} cannot be reached: {reason}") from None
    try:
        writer.write(request)
        return await read_answer(reader, began, keep_text, on_text, times)
    except (EOFError, OSError, ValueError, HttpParserError, msgspec.MsgspecError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BenchError(f"{endpoint.place} does not answer as this API does ({reason})") from None
    finally:
        writer.transport.abort()  # `close` would wait until a server with TLS says that it closes, too


async def _connected(endpoint: BenchEndpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if endpoint.unix:
        return await asyncio.open_unix_connection(endpoint.unix)
    return await asyncio.open_connection(
        endpoint.host,
        endpoint.port,
        ssl=endpoint.ssl_context,
        local_addr=(endpoint.source, 0) if endpoint.source else None,
    )


async def read_answer(
    reader: asyncio.StreamReader,
    began: float,
    keep_text: bool = False,
    on_text: Callable[[], None] = lambda: None,
    times: list[float] | None = None,
) -> MeasuredAnswer:
    """Read a streamed answer, from the status line on. `began`: when the request was sent (time.perf_counter)."""
    response = HttpResponse()
    answer = _AnswerReader(began, keep_text, on_text, times)
    refusal = b""
    with _SilenceLimit(reader) as silence:
        while not response.is_complete:
            body = response.feed(await reader.read(READ_SIZE))
            silence.last_heard = time.perf_counter()
            if response.status == 200:
                answer.feed(body)
            else:
                refusal += body
    if response.status != 200:
        raise BenchRefused(response.status, _reason(refusal))
    return answer.answer()


class _SilenceLimit:
    """Makes a read fail when nothing has arrived for SILENCE_TIMEOUT seconds.

    One timer, set again only when it fires, since a timer for each read would cost as much as the read.
    """

    def __init__(self, reader: asyncio.StreamReader):
        self.last_heard = time.perf_counter()
        self._reader = reader
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "_SilenceLimit":
        self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer:
            self._timer.cancel()

    def _watch(self) -> None:
        remaining = self.last_heard + SILENCE_TIMEOUT - time.perf_counter()
        if remaining > 0:
            self._timer = asyncio.get_running_loop().call_later(remaining, self._watch)
        else:
            self._reader.set_exception(BenchError(f"the server has sent nothing for {SILENCE_TIMEOUT:g} s"))


@dataclass
class _AnswerReader:
    """What has arrived of one answer: the body of a 200, as server-sent events."""

    began: float
    keep_text: bool
    on_text: Callable[[], None]
    times: list[float] | None = None
    ttft: float | None = None
    last_text: float = 0.0  # seconds since `began`
    longest_gap: float = 0.0
    pieces: int = 0
    usage: _Usage | None = None
    timings: Any = None
    texts: list[str] = field(default_factory=list)
    incomplete_line: bytes = b""

    def feed(self, body: bytes) -> None:
        """Take the events in a part of the body, which may begin and end anywhere."""
        *lines, self.incomplete_line = (self.incomplete_line + body).split(b"\n")
        for line in lines:
            if line.startswith(DATA):
                data = line[len(DATA) :].strip()
                if data != DONE:
                    self._take(_decode(data))

    def _take(self, event: _Event) -> None:
        if event.error:
            raise BenchError(f"the server ended an answer: {_reason(msgspec.json.encode(event))}")
        self.usage = event.usage or self.usage
        self.timings = event.timings or self.timings
        text = "".join(choice.delta.text for choice in event.choices)
        if not text:
            return
        now = time.perf_counter() - self.began
        if self.ttft is None:
            self.ttft = self.last_text = now
            self.on_text()
        self.longest_gap = max(self.longest_gap, now - self.last_text)
        self.last_text = now
        if self.times is not None:
            self.times.append(self.began + now)
        self.pieces += 1
        if self.keep_text:
            self.texts.append(text)

    def answer(self) -> MeasuredAnswer:
        """The whole answer. Where the server reports no usage, each piece of text counts as a token."""
        if self.ttft is None:
            raise BenchError("the server's answer has no text")
        usage = self.usage or _Usage(0, self.pieces)
        cached = usage.prompt_tokens_details or _PromptDetails()
        predicted = usage.completion_tokens_details or _AnswerDetails()
        return MeasuredAnswer(
            ttft=self.ttft,
            duration=self.last_text,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=cached.cached_tokens or 0,
            tokens=usage.completion_tokens,
            longest_gap=self.longest_gap,
            text="".join(self.texts),
            accepted=predicted.accepted_prediction_tokens or 0,
            rejected=predicted.rejected_prediction_tokens or 0,
            drafted=self._timing("draft_n"),
            drafts_accepted=self._timing("draft_n_accepted"),
        )

    def _timing(self, name: str) -> int:
        """A number of the last event's timings; 0 where the server tells none."""
        value = self.timings.get(name) if isinstance(self.timings, dict) else None
        return value if isinstance(value, int) else 0


def _reason(body: bytes) -> str:
    """The message in an error's body, on one line."""
    try:
        error = msgspec.json.decode(body)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = body.decode(errors="replace")
    return " ".join(str(text).split())[:MAX_REASON]
