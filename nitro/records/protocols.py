"""The protocols whose requests are recorded, by their paths; and what each has in its requests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from nitro.records import form
from nitro.records.answers import anthropic, ollama, openai, responses, vectors
from nitro.records.answers.draft import Draft, table
from nitro.records.form import Answer, Exchange

Read = Callable[[Draft, Any], None]  # adds a reply, or an event of a stream


class Protocol(NamedTuple):
    """`lines`: a stream is lines of JSON, not events. `under`: the field that has the sampling parameters. `always`:
    the same request gets the same answer, whatever it says. `key_header`: which carries a key."""

    read: Read
    lines: bool = False
    under: str | None = None
    always: bool = False
    key_header: str = "authorization"


CHAT = Protocol(openai.read)
VECTORS = Protocol(vectors.read, always=True)
OLLAMA = Protocol(ollama.read, lines=True, under="options")
PATHS: dict[str, Protocol] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": CHAT,
    "/v1/responses": Protocol(responses.read),
    "/v1/messages": Protocol(anthropic.read, key_header="x-api-key"),
    "/v1/embeddings": VECTORS,
    "/v1/rerank": VECTORS,
    "/v2/rerank": VECTORS,
    "/v1/reranking": VECTORS,
    "/v1/score": VECTORS,
    "/api/chat": OLLAMA,
    "/api/generate": OLLAMA,
    "/api/embed": VECTORS,
    "/api/embeddings": VECTORS,
    "/inferences/llamacpp/chat_completion": CHAT,
    "/inferences/server/chat_completion": CHAT,
    "/inferences/llamacpp/embedding": VECTORS,
    "/inferences/server/embedding": VECTORS,
}


def is_stream(media_type: str) -> bool:
    """Whether a reply of this type is events or lines, rather than one JSON."""
    return "event-stream" in media_type or "ndjson" in media_type


def answer_of(exchange: Exchange) -> Answer:
    """What its reply says; of one that was redacted, what stands in its place."""
    if exchange.answer is not None:
        return exchange.answer
    if exchange.path not in PATHS:
        return Answer()  # of a server that knows more
    if exchange.stream is not None:
        return read_stream(exchange.path, "".join(text for _, text in exchange.stream))
    return read_reply(exchange.path, bytes(exchange.reply))


def read_reply(path: str, body: bytes) -> Answer:
    """What a reply says that is no stream."""
    draft = Draft()
    try:
        reply = msgspec.json.decode(body) if body else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        reply = None
    if isinstance(reply, dict | list):
        PATHS[path].read(draft, reply)
    return draft.made()


def read_stream(path: str, text: str) -> Answer:
    """What a stream says, as far as it has come. A line that is cut is left out."""
    protocol, draft = PATHS[path], Draft()
    for line in text.split("\n"):
        data = line.strip() if protocol.lines else line[5:].strip() if line.startswith("data:") else ""
        if not data or data == "[DONE]":
            continue
        try:
            event = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if isinstance(event, dict):
            protocol.read(draft, event)
    return draft.made()


def is_deterministic(exchange: Exchange) -> bool:
    """Whether the request asks for the same answer each time: temperature 0, the likeliest token, or a seed."""
    protocol = PATHS[exchange.path]
    return protocol.always or is_greedy(exchange) or seed_of(exchange) is not None


def is_greedy(exchange: Exchange) -> bool:
    """Whether the request asks for the likeliest tokens."""
    sampling = _sampling(exchange)
    return sampling.get("temperature") == 0 or sampling.get("top_k") == 1


def seed_of(exchange: Exchange) -> int | None:
    """The request's seed; None: it has none, or one that stands for any."""
    seed = _sampling(exchange).get("seed")
    return seed if isinstance(seed, int) and seed >= 0 else None


def _sampling(exchange: Exchange) -> dict[str, Any]:
    under = PATHS[exchange.path].under
    body = table(form.value(exchange.request))
    return table(body.get(under)) if under else body
