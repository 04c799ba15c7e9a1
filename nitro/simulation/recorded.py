"""Traffic from records: what a request's prompt is in tokens, though a record has its text and only their number.

The texts of a request stand in a row, and pieces of equal length in characters stand for tokens: so long that all
prompts together have as many as the server counted. Each prompt is then cut, or gets tokens of its own, to be as long
as it was. Equal texts give equal ids, so prefixes are shared where texts are, to within the accuracy of that length.
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nitro.errors import RecordError, SimulationError
from nitro.records import form, protocols
from nitro.records.form import Exchange
from nitro.records.replay import sources
from nitro.simulation.traffic import Request, Traffic, joined

FIRST = ("system", "instructions", "tools", "functions")  # fields that templates write before what was said
SAID = ("messages", "input", "prompt")  # fields of what was said
SILENT = frozenset(["type", "id", "call_id", "tool_call_id", "tool_use_id", "cache_control", "status", "index"])
LONG = 4096  # characters without a space: these are a file and no text
OWN = 2**31  # ids from here on stand for no text


@dataclass(slots=True)
class _Asked:
    """A request that was answered: its texts in the order of its prompt, and how many tokens both had."""

    exchange: Exchange
    texts: list[str]
    prompt: int
    answer: int
    next: "_Asked | None" = None  # that goes on with it
    ids: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def read(path: Path) -> Traffic:
    """Those of a file of records, or of a folder with some. Raises SimulationError."""
    try:
        exchanges = sources.exchanges(sources.read(path))
        asked = [found for exchange in exchanges if (found := _asked(exchange))]
    except RecordError as error:
        raise SimulationError(str(error)) from None
    return _traffic(asked, len(exchanges) - len(asked), path)


def _traffic(asked: list[_Asked], left_out: int, path: Path) -> Traffic:
    firsts = _conversations(asked)
    tokens = sum(each.prompt for each in asked)
    _number(asked, sum(len(each.text) for each in asked) / max(tokens, 1))
    own = itertools.count(2 * OWN)
    began = asked[0].exchange.at if asked else 0.0
    try:
        return joined([list(_requests(first, began, own)) for first in firsts], left_out)
    except SimulationError as error:
        raise SimulationError(f"{path}: {error}") from None


def _asked(exchange: Exchange) -> _Asked | None:
    served, protocol = exchange.served, protocols.PATHS[exchange.path]
    if protocol is protocols.VECTORS or not exchange.is_json or not served.prompt_tokens:
        return None
    if not served.completion_tokens:
        return None
    body = form.value(exchange.request)
    history = form.value(exchange.history) if exchange.remembers else []
    texts = ["\n".join(_texts(part)) + "\n" for part in _parts(body, history)]
    return _Asked(exchange, texts, served.prompt_tokens, served.completion_tokens)


def _parts(body: Any, history: Any) -> Iterator[Any]:
    """What a prompt is made of, one after the other."""
    if not isinstance(body, dict):
        return
    yield [body[name] for name in FIRST if name in body]
    yield from history if isinstance(history, list) else [history]
    for name in SAID:
        if (said := body.get(name)) is not None:
            yield from said if isinstance(said, list) else [said]


def _texts(part: Any) -> Iterator[str]:
    """All strings in it. Of a file its digest stands for it."""
    if isinstance(part, str):
        is_file = part.startswith("data:") or (len(part) > LONG and " " not in part)
        yield hashlib.sha256(part.encode(errors="replace")).hexdigest()[:16] if is_file else part
    elif isinstance(part, dict):
        for key, value in part.items():
            if key not in SILENT:
                yield from _texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _texts(value)
    elif isinstance(part, int):
        yield str(part)


def _conversations(asked: list[_Asked]) -> list[_Asked]:
    """Link each request with the one that goes on with it. Returns those that go on with none."""
    latest: dict[str, _Asked] = {}  # by the texts of their prompts
    firsts = []
    for each in asked:
        before = None
        for length in range(len(each.texts) - 1, 0, -1):
            found = latest.get("".join(each.texts[:length]))
            if found and found.next is None and found.prompt < each.prompt:
                before = found
                break
        if before:
            before.next = each
        else:
            firsts.append(each)
        latest[each.text] = each
    return firsts


def _number(asked: list[_Asked], characters: float) -> None:
    """Give each prompt its ids, of pieces of so many characters."""
    known: dict[str, int] = {}
    own = itertools.count(OWN)
    for each in asked:
        text = each.text
        ends = [round(place * characters) for place in range(min(int(len(text) / characters), each.prompt) + 1)]
        ids = [known.setdefault(text[a:b], len(known)) for a, b in itertools.pairwise(ends)]
        ids += [next(own) for _ in range(each.prompt - len(ids))]
        if ends[-1] < len(text) and each.next is None and len(ids) > 1:
            ids[-1] = known.setdefault(f"\0{text}", len(known))  # what was cut off may be all that is its own
        each.ids = ids


def _requests(first: _Asked, began: float, own: Iterator[int]) -> Iterator[Request]:
    """A conversation. An answer is what the next prompt has in its place, as far as that is known."""
    each: _Asked | None = first
    while each:
        said = each.next.ids[each.prompt : each.prompt + each.answer] if each.next else []
        answer = said + [next(own) for _ in range(each.answer - len(said))]
        yield Request(each.ids, answer, each.exchange.at - began)
        each = each.next
