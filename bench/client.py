"""A chat client that costs little: one socket a request, and only the frames that matter are parsed."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

Address = tuple[str, int]

END = b"\n\n"  # of a frame
CONTENT, USAGE = b'"content":"', b'"usage":{'


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


def chat_body(messages: list[dict[str, Any]], tokens: int, **more: Any) -> bytes:
    """A request for exactly so many tokens, the same ones each time."""
    asked = {"temperature": 0, "max_tokens": tokens, "ignore_eos": True}
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps({"messages": messages, **asked, **stream, **more}).encode()


def run(work: Coroutine[Any, Any, T]) -> T:
    """On an event loop that costs less than asyncio's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def chats(address: Address, bodies: Sequence[bytes]) -> list[Answer]:
    """One after another."""
    return [await chat(address, body) for body in bodies]


async def chat(
    address: Address, body: bytes, keep_text: bool = False, on_text: Callable[[], None] = lambda: None
) -> Answer:
    """`on_text` is called once, when text has come. Raises RuntimeError where the server does not answer so."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address)
    try:
        head = ("POST /v1/chat/completions HTTP/1.1", f"Host: {address[0]}", "Content-Type: application/json")
        writer.write("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        head_bytes = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head_bytes.partition(b"\r\n")[0]:
            raise RuntimeError(f"the server refused: {head_bytes!r} {await reader.read(1000)!r}")
        return await read_stream(reader, began, keep_text, on_text)
    finally:
        writer.close()


async def read_stream(
    reader: asyncio.StreamReader,
    began: float,
    keep_text: bool = False,
    on_text: Callable[[], None] = lambda: None,
) -> Answer:
    """The body of a streamed answer, in HTTP/1.1 chunks, which need not be whole frames."""
    first = last = None
    gap, text = 0.0, ""
    usage = pending = b""
    while size := int(await reader.readline(), 16):
        pending += (await reader.readexactly(size + 2))[:-2]
        now = time.perf_counter() - began
        *frames, pending = pending.split(END)
        for frame in frames:
            if CONTENT in frame and (first is not None or _text(frame)):
                if first is None:
                    first = last = now
                    on_text()
                gap, last = max(gap, now - last), now
                text += _text(frame) if keep_text else ""
            if USAGE in frame:
                usage = frame
    if first is None or last is None or not usage:
        raise RuntimeError("the stream ended without text, or without usage")
    counts = _parse(usage)["usage"]
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Answer(first, last, counts["prompt_tokens"], cached, counts["completion_tokens"], gap, text)


def _text(frame: bytes) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in _parse(frame)["choices"])


def _parse(frame: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(frame.removeprefix(b"data: "))
    return parsed
