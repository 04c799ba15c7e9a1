"""What two answers to one request have in common, and what not."""

import math
from collections.abc import Sequence

from msgspec import Struct

from nitro.records import form, protocols
from nitro.records.form import Answer, Exchange
from nitro.records.replay.sender import Reply

ALIKE = 0.999  # cosine of two vectors that count as the same
NEAR = 1e-3  # distance of two scores that do


class Side(Struct):
    """One of two answers, with its times in seconds."""

    status: int
    answer: Answer
    first_seconds: float | None
    seconds: float
    streamed: bool

    @property
    def speed(self) -> float | None:
        """Tokens a second, after the first byte of a stream."""
        tokens = self.answer.completion_tokens
        if (
            not self.streamed
            or not tokens
            or tokens < 2
            or self.first_seconds is None
            or self.seconds <= self.first_seconds
        ):
            return None
        return (tokens - 1) / (self.seconds - self.first_seconds)


class Compared(Struct):
    """A request that was sent again. `differs`: in what; `fails`: whether it should not."""

    id: str
    path: str
    deterministic: bool
    differs: list[str]
    fails: bool
    recorded: Side
    replayed: Side
    late: float = 0.0  # seconds after its time that it was sent
    left: bool = False
    where: str | None = None  # the texts part, as a sentence
    error: str | None = None


def compare(exchange: Exchange, reply: Reply) -> Compared:
    """A record, and what came for the same request."""
    streamed = exchange.stream is not None
    recorded = Side(exchange.status, protocols.answer_of(exchange), exchange.first_seconds, exchange.seconds, streamed)
    replayed = Side(reply.status, _answer(exchange, reply), reply.first_seconds, round(reply.seconds, 6), streamed)
    differs = _differences(exchange, recorded, replayed)
    deterministic = _is_promised(exchange, recorded.answer, replayed.answer)
    broken = reply.status not in (200, 0 if reply.left else 200) or bool(reply.error or replayed.answer.error)
    answered = exchange.status == 200 and not recorded.answer.error
    return Compared(
        id=exchange.id,
        path=exchange.path,
        deterministic=deterministic,
        differs=differs,
        fails=answered and (broken or (deterministic and bool(differs))),
        recorded=recorded,
        replayed=replayed,
        late=round(reply.late, 6),
        left=reply.left or exchange.ended == "left",
        where=_where(recorded.answer, replayed.answer) if "text" in differs else None,
        error=reply.error or replayed.answer.error,
    )


def _answer(exchange: Exchange, reply: Reply) -> Answer:
    if protocols.is_stream(reply.media_type):
        return protocols.read_stream(exchange.path, reply.body.decode(errors="replace"))
    return protocols.read_reply(exchange.path, reply.body)


def _is_promised(exchange: Exchange, recorded: Answer, replayed: Answer) -> bool:
    """Whether the request asks for the same answer each time. A seed does so only while the fingerprint, where both
    tell one, is the same."""
    if exchange.redacted or not exchange.is_json:
        return False
    if not protocols.is_deterministic(exchange):
        return False
    if protocols.PATHS[exchange.path].always or protocols.is_greedy(exchange):
        return True
    known = (exchange.served.fingerprint or recorded.fingerprint), replayed.fingerprint
    return None in known or known[0] == known[1]


def _differences(exchange: Exchange, recorded: Side, replayed: Side) -> list[str]:
    """In what they differ. Of an answer that its client did not wait for only the beginning is known."""
    if recorded.status != replayed.status:
        return ["status"] if recorded.status and replayed.status else []
    one, other = recorded.answer, replayed.answer
    if exchange.ended == "left":
        pairs = zip(one.choices, other.choices, strict=False)
        parts = any(not _starts_alike(mine.text, theirs.text) for mine, theirs in pairs)
        return ["text"] if parts and not exchange.redacted else []
    found = []
    if len(one.choices) != len(other.choices):
        found.append("choices")
    for name in () if exchange.redacted else ("text", "reasoning", "calls"):
        if [getattr(choice, name) for choice in one.choices] != [getattr(choice, name) for choice in other.choices]:
            found.append(name)
    if [choice.finish for choice in one.choices] != [choice.finish for choice in other.choices]:
        found.append("finish")
    for name in ("prompt_tokens", "completion_tokens"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if None not in (mine, theirs) and mine != theirs:
            found.append(name)
    if not exchange.redacted and not _same_vectors(one.vectors, other.vectors):
        found.append("vectors")
    return found


def _starts_alike(one: str, other: str) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _same_vectors(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    return len(some) == len(others) and all(_alike(one, other) for one, other in zip(some, others, strict=True))


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    if len(one) != len(other):
        return False
    if len(one) == 1:
        return abs(one[0] - other[0]) <= NEAR
    lengths = math.hypot(*one) * math.hypot(*other)
    return not lengths or sum(a * b for a, b in zip(one, other, strict=True)) / lengths >= ALIKE


def _where(recorded: Answer, replayed: Answer) -> str | None:
    for place, (one, other) in enumerate(zip(recorded.choices, replayed.choices, strict=False)):
        if one.text != other.text:
            at = next((i for i, (a, b) in enumerate(zip(one.text, other.text, strict=False)) if a != b), None)
            at = min(len(one.text), len(other.text)) if at is None else at
            choice = f"choice {place}, " if len(recorded.choices) > 1 else ""
            was, now = form.raw(one.text[at : at + 24]), form.raw(other.text[at : at + 24])
            return f"{choice}from character {at} on: {bytes(was).decode()} was {bytes(now).decode()}"
    return None
