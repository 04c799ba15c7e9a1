"""What the clients of this folder have asked so far, sent again to the servers that answered it: the same answers.

The scripted model says the same whatever runs beside it. A real one says at temperature 0 what tests/same_answer.py
calls the same answer.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer, with_fast_products
from running import CEILING, RunningServer
from same_answer import Scorer, assert_same_answer, tolerance

from nitro.records import folder, form, protocols
from nitro.records.form import Exchange
from nitro.records.replay import command, sources, target
from nitro.records.replay.comparison import Compared

pytestmark = pytest.mark.clients

EXACT = ("scripted", "ranks")
MOST = 2  # requests of a kind to a real model
LONG = "What the clients have asked is asked once more, and the answers are laid beside those of the first time. " * 8


def _mlx(model: Path) -> Scorer:
    scorer = MlxScorer(model)
    scorer._model.network = with_fast_products(scorer._model.network)
    return scorer


SCORERS: dict[str, Callable[[Path], Scorer]] = {"llama": LlamaScorer, "plain": LlamaScorer, "mlx": _mlx}


def test_recorded_traffic_gets_the_same_answers(running: dict[tuple[str, bool], RunningServer], smollm: Path) -> None:
    if not running:
        pytest.skip("no client has run")
    for (name, _), server in running.items():
        recorder = server.server.recorder
        assert recorder
        server.run(recorder.written())
        if not folder.files(recorder.folder):  # what it was asked is not recorded: sounds to be transcribed
            continue
        exchanges = _chosen(name, sources.exchanges(sources.read(recorder.folder)))
        if not exchanges:
            continue
        before = {each.id: each for each in exchanges}
        found = command.replay(exchanges, target.parse(server.url, None, None), None, at_once=2)
        differing = [each for each in found.requests if each.differs and not each.left]
        if name not in EXACT and differing:
            scorer = SCORERS[name](smollm)
            differing = [each for each in differing if not _is_same(server, scorer, before[each.id], each)]
        assert not differing, [(name, each.path, each.differs, each.where, each.error) for each in differing]
        assert found.failed == 0, [(each.path, each.error) for each in found.requests if each.fails]


def _chosen(name: str, exchanges: list[Exchange]) -> list[Exchange]:
    """All that a scripted model answered; of a real one, which takes its time, a few of each kind at temperature 0."""
    if name in EXACT:
        return exchanges
    kinds: dict[tuple[str, bool], list[Exchange]] = {}
    for each in exchanges:
        if _is_greedy(each):
            kinds.setdefault((each.path, each.stream is None), []).append(each)
    return [each for kind in kinds.values() for each in kind[:MOST]]


def _is_greedy(exchange: Exchange) -> bool:
    return exchange.status == 200 and (protocols.PATHS[exchange.path].always or protocols.is_greedy(exchange))


def _is_same(server: RunningServer, scorer: Scorer, exchange: Exchange, compared: Compared) -> bool:
    """Whether the new text is what its prompt gets alone, up to batch numerics. Of requests with more than texts in
    them nobody knows the prompt: they must not differ."""
    messages = _messages(exchange.path, form.value(exchange.request))
    if messages is None or {"calls", "status", "choices"} & set(compared.differs):
        return False
    with httpx.Client(base_url=server.url, timeout=CEILING) as client:
        prompt = client.post("/apply-template", json={"messages": messages}).json()["prompt"]

        def tokens(text: str) -> list[int]:
            return client.post("/tokenize", json={"content": text, "parse_special": True}).json()["tokens"]

        (choice,) = compared.replayed.answer.choices
        assert_same_answer(scorer, tokens(prompt), tokens(choice.text), tolerance(scorer, tokens(LONG)))
    return True


def _messages(path: str, body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The conversation of a request that consists of texts, and is answered by any text."""
    if any(body.get(name) for name in ("tools", "response_format", "text", "output_config", "previous_response_id")):
        return None
    if path == "/v1/responses":
        body = {"system": body.get("instructions"), "messages": [{"role": "user", "content": body.get("input")}]}
    elif path not in ("/v1/chat/completions", "/v1/messages"):
        return None
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    messages = system + body["messages"]
    return messages if all(isinstance(message.get("content"), str) for message in messages) else None
