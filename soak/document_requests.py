"""Requests of every route that the OpenAPI document describes: what Schemathesis makes of it, valid and not, and the
same with something else wrong. A process makes them, because that takes longer than the server takes to refuse one:

    python -m soak.document_requests SEED COUNT    writes frames: a length in 4 bytes, a Request in MessagePack
"""

import copy
import itertools
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import hypothesis
import msgspec
import requests as http
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from bench.processes import HOST
from nitro.api.openapi.document import OPERATIONS, document
from nitro.api.openapi.operation import Operation
from soak import requests
from soak.request_sources import ENDLESS, LENGTH
from soak.requests import Request

ROUND = 1  # cases of each route and mode before the next ones
MUTATED = 8  # requests that are made of a case with a body, besides the case itself: a case takes long to make
ODD_PARTS = ("..", "%2e%2e", "a" * 4000, "%00", "\u00e9", "a/b", "resp_0", "../../etc/passwd", "-1", "{}", " ", "a?b=c")
PORT = 1  # in place of the server's, which is not known here


@dataclass(frozen=True)
class Case:
    """A case of Schemathesis, and the operation that it is about."""

    name: str
    operation: Operation
    case: schemathesis.Case


def generate(seed: int, count: int) -> Iterator[Request]:
    """So many requests, of all routes. The same seed gives the same ones, but for the boundaries of forms."""
    made = 0
    for number, case in enumerate(_cases(seed)):
        rng = random.Random(f"{seed} {number}")
        for request in _requests(case, rng):
            yield requests.sent(rng, request)
            made += 1
            if made == count:
                return


def _cases(seed: int) -> Iterator[Case]:
    """For ever: a few of each route and mode, in a random order, then the next ones."""
    api = schemathesis.openapi.from_dict(document())
    api.config.update(base_url=f"http://{HOST}:{PORT}")
    strategies = [
        (f"{method.upper()} {path}", operation, api[path][method].as_strategy(generation_mode=mode))
        for (method, path), operation in OPERATIONS.items()
        for mode in GenerationMode
        if (method, path) != ENDLESS
    ]
    for turn in itertools.count(1):
        found: list[Case] = []
        for name, operation, strategy in strategies:
            found += [Case(name, operation, case) for case in _drawn(strategy, seed * 100_000 + turn)]
        random.Random(f"{seed} {turn}").shuffle(found)
        yield from found


def _drawn(strategy: Any, seed: int) -> list[schemathesis.Case]:
    found: list[schemathesis.Case] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=ROUND,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def draw(case: schemathesis.Case) -> None:
        found.append(case)

    try:
        draw()
    except Unsatisfiable:  # nothing of this route can be invalid
        pass
    return found


def _requests(case: Case, rng: random.Random) -> Iterator[Request]:
    """The case as it is, then with something else wrong."""
    try:
        prepared = http.Request(**case.case.as_transport_kwargs()).prepare()
    except (ValueError, http.RequestException):  # no client could send it
        return
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body or b""
    path = prepared.path_url
    if "{" in case.name and rng.random() < 0.3:
        path = quote(case.name.partition(" ")[2].partition("{")[0]) + quote(rng.choice(ODD_PARTS), safe="%/?=.")
    kind = str(prepared.headers.get("Content-Type", "application/json"))
    yield _request(case, "as it is", path, kind, body)
    if isinstance(case.case.body, dict) and case.case.body and "json" in kind:
        for _ in range(MUTATED):
            name = rng.choice(list(requests.ANY_BODY))
            changed = copy.deepcopy(case.case.body)
            raw = requests.ANY_BODY[name](rng, changed)
            yield _request(case, name, path, kind, raw if raw is not None else json.dumps(changed).encode())


def _request(case: Case, what: str, path: str, kind: str, body: bytes) -> Request:
    method = case.name.partition(" ")[0]
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {HOST}:{PORT}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    ]
    data = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
    return Request(f"{case.name}: {what}", data, refuses=case.operation.fails)


def main() -> None:
    """See above."""
    seed, count = map(int, sys.argv[1:])
    encode = msgspec.msgpack.Encoder().encode
    for request in generate(seed, count):
        frame = encode(request)
        sys.stdout.buffer.write(LENGTH.pack(len(frame)) + frame)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
