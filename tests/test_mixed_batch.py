"""Requests of every kind at once, in one batch, on each engine: each gets what it gets alone. What they ask for one by
one, the tests of their own subject tell; of greedy answers alone, test_batching.py."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from running import CEILING, RunningServer
from same_answer import assert_same_answer, tolerance

from nitro.config import ServeConfig
from nitro.text.template import ChatTemplate

CONTEXT = 512
PENALISED = 64  # tokens that penalties look back
LOOK_BACK = {"repeat_last_n": PENALISED}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 3},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "of": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "age", "of"],
    "additionalProperties": False,
}
KEEPS = jsonschema_rs.validator_for(PERSON).is_valid
TOOL = {"type": "function", "function": {"name": "note", "parameters": PERSON}}
GREEDY = {"temperature": 0, "max_tokens": 40, "ignore_eos": True, "return_tokens": True}
UNFILTERED = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}  # whatever the model recommends
HOT = {**UNFILTERED, "max_tokens": 24, "ignore_eos": True, "return_tokens": True}
FORM = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}

# By name: the body, but for its messages
Body = dict[str, Any]
GREEDY_ONES: dict[str, Body] = {
    "plain": GREEDY,
    "a stream": {**GREEDY, "stream": True},
    "logprobs": {**GREEDY, "logprobs": True, "top_logprobs": 3},
    "a prediction": {**GREEDY, "prediction": {"type": "content", "content": "It is what it is."}},
    "penalties": {**GREEDY, "frequency_penalty": 1.5, "presence_penalty": 1, "repetition_penalty": 1.2, **LOOK_BACK},
    "a bias": {**GREEDY, "logit_bias": {"290": 8, "300": -100}},
    "filters": {**GREEDY, "temperature": 9, "top_k": 1, "top_p": 0.9, "min_p": 0.05},
    "an echo": {**GREEDY, "prompt": "The river and the sea are", "echo": True, "logprobs": 2},
}
SEEDED: dict[str, Body] = {"a seed": {**HOT, "seed": 7}, "four": {**HOT, "seed": 5, "n": 4}}
FORMED: dict[str, Body] = {
    "a schema": {**UNFILTERED, "seed": 4, "max_tokens": 150, "response_format": FORM},
    "a tool": {**UNFILTERED, "seed": 6, "max_tokens": 130, "tools": [TOOL], "tool_choice": "required"},
    "a tool, streamed": {
        **UNFILTERED,
        "seed": 8,
        "max_tokens": 130,
        "tools": [TOOL],
        "tool_choice": "required",
        "stream": True,
    },
    "a regex": {**UNFILTERED, "seed": 2, "max_tokens": 60, "regex": "[a-f]{3}-[0-9]{5,20}!"},
    "a grammar": {
        **UNFILTERED,
        "seed": 2,
        "max_tokens": 60,
        "grammar": 'root ::= ("yes" | "no" [0-9]) " " root | "end"',
    },
    "a choice": {**UNFILTERED, "seed": 2, "choice": ['red "wine"', "žlutá"]},
}
SCORED: Body = {"prompt": "It was the best of times", "echo": True, "logprobs": 0, "max_tokens": 0}
STOPPED: Body = {**GREEDY, "stop": []}  # which it is told to stop at, the answer alone shows
REQUESTS: dict[str, Body] = {**GREEDY_ONES, **SEEDED, **FORMED, "scored": SCORED, "stopped": STOPPED}
FORMS: dict[str, Callable[[str], Any]] = {
    "a schema": lambda text: KEEPS(json.loads(text)),
    "a tool": lambda text: KEEPS(json.loads(text)),
    "a tool, streamed": lambda text: KEEPS(json.loads(text)),
    "a regex": re.compile("[a-f]{3}-[0-9]{5,20}!").fullmatch,
    "a grammar": re.compile("((yes|no[0-9]) )*end").fullmatch,
    "a choice": ('red "wine"', "žlutá").__contains__,
}


@pytest.fixture(scope="module", params=["llama", "mlx"])
def server(request: pytest.FixtureRequest, model: Path) -> Iterator[RunningServer]:
    config = ServeConfig(engine=request.param, model=str(model), port=0, context=CONTEXT, parallel=24)
    with RunningServer(config) as server:
        yield server.ready()


def messages(name: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Tell me of {name}."}]


Told = list[tuple[str, str, list[int], Any]]  # by choice: text or arguments, finish reason, token ids, logprobs


def told(server: RunningServer, name: str, **more: Any) -> Told:
    body = {**REQUESTS[name], **more}
    path, prompt = ("completions", {}) if "prompt" in body else ("chat/completions", {"messages": messages(name)})
    with httpx.stream("POST", f"{server.url}/v1/{path}", json={**prompt, **body}, timeout=CEILING) as reply:
        reply.read()
    assert reply.status_code == 200, reply.text
    if not body.get("stream"):
        choices = reply.json()["choices"]
        return [_choice(choice, choice.get("message") or {"content": choice.get("text")}) for choice in choices]
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: {")]
    parts = [_choice(choice, choice["delta"]) for line in lines for choice in json.loads(line)["choices"]]
    texts, finishes, tokens, _ = zip(*parts, strict=True)
    return [("".join(texts), "".join(filter(None, finishes)), [*chain(*tokens)], None)]


def _choice(choice: dict[str, Any], said: dict[str, Any]) -> tuple[str, str, list[int], Any]:
    calls = "".join(call["function"]["arguments"] for call in said.get("tool_calls") or [])
    text = (said.get("content") or "") + calls
    return text, choice["finish_reason"], choice.get("tokens") or [], choice.get("logprobs")


def all_at_once(server: RunningServer, **more: Body) -> dict[str, Told]:
    """The engine is held until it has been asked for all. `more`: by name, of the body."""
    engine = server.engine

    async def all_sent() -> None:
        while len(engine.generations.by_id) < sum(body.get("n", 1) for body in REQUESTS.values()):
            await asyncio.sleep(0)

    engine.steps.clear()
    os.kill(engine.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        asked = {name: pool.submit(told, server, name, **more.get(name, {})) for name in REQUESTS}
        try:
            server.run(all_sent())
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        return {name: answer.result(CEILING) for name, answer in asked.items()}


def test_each_gets_what_it_gets_alone(server: RunningServer, model: Path) -> None:
    alone = {name: told(server, name) for name in REQUESTS}
    stop = alone["stopped"][0][0][20:24]
    together = all_at_once(server, stopped={"stop": [stop]})
    assert max(len(record.rows) for record in server.engine.steps) > len(REQUESTS) / 2
    scorer = {"llama": LlamaScorer, "mlx": MlxScorer}[server.engine.spec.engine]
    scorer = scorer(model, context=CONTEXT, banned=sorted(server.engine.info.eog))
    text = _prompt(scorer, server, "plain") + alone["plain"][0][2]
    explained = tolerance(scorer, text * 3)
    for name, body in GREEDY_ONES.items():
        ((said, finish, tokens, logprobs),) = together[name]
        assert_same_answer(_Bent(scorer, body), _prompt(scorer, server, name), tokens, explained)
        assert (finish, len(tokens), bool(logprobs)) == (alone[name][0][1], 40, bool(alone[name][0][3])) and said
    for name in SEEDED:
        for here, there in zip(together[name], alone[name], strict=True):
            assert_same_draws(scorer, _prompt(scorer, server, name), here[2], there[2], explained)
    assert len({said for said, *_ in together["four"]}) == 4
    for name, keeps in FORMS.items():
        ((said, finish, *_),) = together[name]
        assert keeps(said) if finish != "length" else alone[name][0][1] == "length", (name, said)
    assert sum(together[name][0][1] != "length" for name in FORMS) >= 4
    (said, finish, *_), plain = together["stopped"][0], alone["stopped"][0][0]
    assert (said, finish) == (plain[: plain.index(stop)], "stop") or said != plain[: len(said)]
    scored = zip(*(each["scored"][0][3]["token_logprobs"][1:] for each in (together, alone)), strict=True)
    assert all(abs(here - there) <= max(explained, 1e-4) for here, there in scored)
    scorer.close()


def _prompt(scorer: Any, server: RunningServer, name: str) -> list[int]:
    template = ChatTemplate(server.engine.info.template)
    return scorer.tokenizer.encode(REQUESTS[name].get("prompt") or template.render(messages(name)))


class _Bent:
    """A scorer whose logits are bent as a request asks."""

    def __init__(self, scorer: Any, body: Body):
        self._scorer, self._body = scorer, body

    def logits(self, tokens: list[int], steps: list[int]) -> np.ndarray:
        rows, body = self._scorer.logits(tokens, steps), self._body
        for token, bias in body.get("logit_bias", {}).items():
            rows[:, int(token)] += bias
        if "repetition_penalty" in body:
            for end, row in enumerate(rows, steps[0]):
                for token, times in Counter(tokens[:end][-PENALISED:]).items():
                    row[token] *= body["repetition_penalty"] ** (-1 if row[token] > 0 else 1)
                    row[token] -= times * body["frequency_penalty"] + body["presence_penalty"]
        return rows


def assert_same_draws(scorer: Any, prompt: list[int], here: list[int], alone: list[int], explained: float) -> None:
    """Where the same seed draws another token, hardly anything may be between the two: llama.cpp draws along the
    vocabulary. What follows has another text before it. On MLX, whose numerics are finer, nothing may differ."""
    parted = next((i for i, (a, b) in enumerate(zip(here, alone, strict=True)) if a != b), None)
    if parted is None:
        return
    row = scorer.logits(prompt + here[:parted], [len(prompt)] + [1] * parted)[-1].astype(np.float64)
    shares = np.exp(row - row.max())
    first, last = sorted((here[parted], alone[parted]))
    between = shares[first + 1 : last].sum() / shares.sum()
    assert isinstance(scorer, LlamaScorer) and between <= explained, (parted, between, explained)
