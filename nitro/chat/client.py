"""A client of the OpenAI API for one conversation, with the standard library's HTTP."""

import contextlib
import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

from nitro.bench import endpoint as endpoints
from nitro.bench.endpoint import BenchEndpoint
from nitro.errors import BenchError, ChatError
from nitro.system import http_clients
from nitro.system.http_clients import SYSTEM, Trust

CONNECT_TIMEOUT = 10.0  # seconds
REPLY_TIMEOUT = 60.0  # seconds for what needs no model
SILENCE_TIMEOUT = 600.0  # seconds without a byte after which an answer is given up; the OpenAI SDK waits as long
READ_SIZE = 65536
MAX_REFUSAL = 2**16  # bytes of an error's body that are read
IGNORED_HEADER = "x-nitro-ignored"
CUT = "The connection was closed before the answer's end."


class Unreachable(ChatError):
    """Nothing listens there, or not long enough, or something that does not speak HTTP."""


class Refused(ChatError):
    """The server answered with a status other than 200. The message is its own."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    model: str | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode


@dataclass
class Answer:
    """What has come of an answer. Times are seconds since the request was sent."""

    content: str = ""
    reasoning: str = ""
    finish: str | None = None  # as OpenAI has it; None: it was stopped or cut
    model: str = ""  # as the server calls it
    prompt_tokens: int = 0
    tokens: int = 0  # 0 where the server does not tell
    pieces: int = 0
    ttft: float = 0.0
    duration: float = 0.0  # until the last text
    ignored: tuple[str, ...] = ()  # parameters without effect


@dataclass(frozen=True)
class Piece:
    """Some text of an answer."""

    content: str = ""
    reasoning: str = ""


@dataclass(frozen=True)
class End:
    """The answer is whole, or was stopped, or failed."""

    error: ChatError | None = None


class Client:
    """Asks one server. Every method raises ChatError."""

    def __init__(self, url: str, api_key: str | None = None, trust: Trust = SYSTEM):
        """`url`: its base, as in http://127.0.0.1:3928; /v1 may be left out. Or unix:/path."""
        try:
            self.endpoint = endpoints.parse(url, api_key, {}, trust)
        except BenchError as error:
            raise ChatError(str(error)) from None

    @property
    def url(self) -> str:
        """The base of its routes."""
        at = self.endpoint
        if at.unix:
            return f"{http_clients.UNIX}{at.unix}"
        host = f"[{at.host}]" if ":" in at.host else at.host
        return f"{'https' if at.tls else 'http'}://{host}:{at.port}{at.path}"

    def models(self) -> list[dict[str, Any]]:
        """The models that it lists."""
        listed = self._get("/models").get("data")
        if not isinstance(listed, list) or not all(isinstance(each, dict) and "id" in each for each in listed):
            raise ChatError(f"{self.url} does not list models as this API does.")
        return listed

    def model(self, name: str) -> str | None:
        """The id of the model that this name means to it; None: no such model."""
        try:
            return str(self._get(f"/models/{quote(name, safe='/:@')}").get("id", name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def ask(self, body: dict[str, Any]) -> "AnswerStream":
        """Send a chat request and stream its answer. Errors come with the stream's end."""
        return AnswerStream(self.endpoint, {**body, "stream": True, "stream_options": {"include_usage": True}})

    def _get(self, path: str) -> dict[str, Any]:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The object that a route answers, to an object or to nothing."""
        data = None if body is None else json.dumps(body).encode()
        with self.exchange(method, path, data) as response:
            try:
                found = msgspec.json.decode(response.read())
            except msgspec.MsgspecError:
                found = None
        if not isinstance(found, dict):
            raise ChatError(f"{self.url} does not answer as this API does.")
        return found

    @contextlib.contextmanager
    def exchange(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """A response whose status is 200. `body`: in pieces, where the `headers` tell its length."""
        connection = _connection(self.endpoint, REPLY_TIMEOUT)
        try:
            connection.connect()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, self.endpoint.path + path, body, {**_headers(self.endpoint), **named})
            with contextlib.closing(connection.getresponse()) as response:
                yield _checked(response)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self.endpoint, error) from None
        finally:
            connection.close()


@dataclass
class AnswerStream:
    """An answer on its way. A thread reads it, so that `next` has a time limit and `stop` works at any time."""

    endpoint: BenchEndpoint
    body: dict[str, Any]
    answer: Answer = field(default_factory=Answer)

    def __post_init__(self) -> None:
        self._came: queue.SimpleQueue[Piece | End] = queue.SimpleQueue()
        self._connection = _connection(self.endpoint, CONNECT_TIMEOUT)
        self._stopped = False
        self._began = time.perf_counter()
        threading.Thread(target=self._run, name="answer", daemon=True).start()

    def next(self, timeout: float | None = None) -> Piece | End | None:
        """What comes next; None: nothing within `timeout` seconds."""
        try:
            return self._came.get(timeout=timeout)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """End it now: the server ends its work. A signal handler may call this."""
        self._stopped = True
        self._came.put(End())
        try:
            if self._connection.sock:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended

    def _run(self) -> None:
        error = None
        try:
            self._read()
        except ChatError as failed:
            error = failed
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as failed:  # also of a socket that ends
            error = _unreachable(self.endpoint, failed)
        finally:
            self._connection.close()
            self._came.put(End(None if self._stopped else error))

    def _read(self) -> None:
        self._connection.connect()
        if self._stopped:
            return
        self._connection.sock.settimeout(SILENCE_TIMEOUT)
        path, headers = f"{self.endpoint.path}/chat/completions", _headers(self.endpoint)
        self._connection.request("POST", path, json.dumps(self.body).encode(errors="surrogatepass"), headers)
        with contextlib.closing(self._connection.getresponse()) as response:
            answering = _checked(response)
            try:
                self._follow(answering)
            except TimeoutError:
                raise ChatError(f"The server has been silent for {SILENCE_TIMEOUT:.0f} seconds.") from None
            except (OSError, http.client.HTTPException):
                raise ChatError(CUT) from None

    def _follow(self, response: http.client.HTTPResponse) -> None:
        """Take the events of a response until the last one."""
        ignored = response.headers.get(IGNORED_HEADER, "")
        self.answer.ignored = tuple(name.strip() for name in ignored.split(",") if name.strip())
        rest = b""
        while data := response.read1(READ_SIZE):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and self._take(line[5:].strip()):
                    return
        if self.answer.finish is None and not self._stopped:
            raise ChatError(CUT)

    def _take(self, data: bytes) -> bool:
        """Take an event; whether it is the last."""
        if data == b"[DONE]":
            return True
        event = _decode(data)
        if event.error:
            raise ChatError(_message(event.error))
        answer = self.answer
        answer.model = event.model or answer.model
        if event.usage:
            answer.prompt_tokens, answer.tokens = event.usage.prompt_tokens, event.usage.completion_tokens
        for choice in event.choices[:1]:
            answer.finish = choice.finish_reason or answer.finish
            delta = choice.delta
            piece = Piece(delta.content or "", delta.reasoning_content or delta.reasoning or "")
            if piece.content or piece.reasoning:
                answer.duration = time.perf_counter() - self._began
                answer.ttft = answer.ttft or answer.duration
                answer.pieces += 1
                answer.content += piece.content
                answer.reasoning += piece.reasoning
                self._came.put(piece)
        return False


def _connection(at: BenchEndpoint, timeout: float) -> http.client.HTTPConnection:
    if at.unix:
        return http_clients.UnixConnection(at.unix, timeout)
    if at.tls:
        return http.client.HTTPSConnection(at.host, at.port, timeout=timeout, context=at.ssl_context)
    return http.client.HTTPConnection(at.host, at.port, timeout=timeout)


def _headers(at: BenchEndpoint) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if at.api_key:
        headers["Authorization"] = f"Bearer {at.api_key}".encode(errors="surrogateescape").decode("latin-1")
    return headers


def _checked(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """The response, if its status is 200. Raises Refused."""
    if response.status == 200:
        return response
    body = response.read(MAX_REFUSAL)
    try:
        message = _message(msgspec.json.decode(body).get("error"))
    except (msgspec.MsgspecError, AttributeError):
        message = ""
    raise Refused(response.status, message or f"The server answers with status {response.status}.")


def _message(error: Any) -> str:
    """The text of an error's body."""
    return str(error.get("message") or error) if isinstance(error, dict) else str(error or "")


def _unreachable(at: BenchEndpoint, error: Exception) -> Unreachable:
    return Unreachable(f"{at.place} cannot be reached: {http_clients.reason(error)}.")
