"""Forced calls of a small model at temperature 1, over many seeds: each keeps its schema by an independent validator,
or says that it was cut. SmolLM2 on llama.cpp; what grammars allow in each format, test_forced_calls.py tells."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from asking import Told, ask
from running import RunningServer

from nitro.config import ServeConfig
from nitro.gguf import header

SEEDS = range(200)
AT_ONCE = 8  # as many as the server has slots
SCHEMA = {
    "type": "object",
    "properties": {
        "to": {
            "type": "object",
            "properties": {"at": {"enum": ['"a"', "ž", "c:\\d"]}},
            "required": ["at"],
            "additionalProperties": False,
        },
        "n": {"type": "integer", "minimum": -5, "maximum": 99},
        "l": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "b": {"type": "boolean"},
    },
    "required": ["to", "n", "l"],
    "additionalProperties": False,
}
VALID = jsonschema_rs.validator_for(SCHEMA).is_valid
MESSAGES = [{"role": "user", "content": 'Call f: "a", ž.'}]
BLANK = {*"ĠĊĉč"}  # of its characters, those of white space
MOST = 64  # tokens: some of the answers are longer


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


REQUIRED = {"tools": [tool("f")], "tool_choice": "required"}
FORMS: dict[str, dict[str, Any]] = {
    "named": {"tools": [tool("f"), tool("g")], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "strict": {"tools": [tool("f", strict=True)], "tool_choice": "required"},
    "one call": {**REQUIRED, "parallel_tool_calls": False},
}


@pytest.fixture(scope="module")
def server(quick_smollm: Path) -> Iterator[RunningServer]:
    config = ServeConfig(engine="llama", model=str(quick_smollm), port=0, context=1024, parallel=AT_ONCE)
    with RunningServer(config) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def seldom_blank(smollm: Path) -> dict[str, int]:
    """White space would be most of what it says between brackets."""
    tokens = header.read(smollm).need("tokenizer.ggml.tokens")
    return {str(id): -5 for id, token in enumerate(tokens) if token and set(token) <= BLANK}


def answers(server: RunningServer, asked: list[tuple[int, bool]], **options: Any) -> list[Told]:
    """By seed and whether it is streamed."""

    def one(seed: int, stream: bool) -> Told:
        sampling = {"temperature": 1, "top_p": 1, "seed": seed, "max_tokens": MOST}
        return ask(server, messages=MESSAGES, stream=stream, **sampling, **options)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda each: one(*each), asked))


def assert_kept(told: Told) -> None:
    """Calls that are whole keep their schema; one that is not is the last, of an answer that says that it was cut."""
    assert not told.content and not told.reasoning
    whole = told.calls if told.finish == "tool_calls" else told.calls[:-1]
    assert told.finish == "length" or (told.finish == "tool_calls" and whole)
    for name, arguments in whole:
        assert name == "f" and VALID(json.loads(arguments)), arguments


def test_required_calls(server: RunningServer, seldom_blank: dict[str, int]) -> None:
    """Every other one is streamed: both ways for all would take minutes."""
    told = answers(server, [(seed, seed % 2 == 1) for seed in SEEDS], logit_bias=seldom_blank, **REQUIRED)
    for each in told:
        assert_kept(each)
    for mode in (told[::2], told[1::2]):
        assert sum(each.finish == "tool_calls" for each in mode) > len(mode) / 5
        assert len({str(each.calls) for each in mode}) > len(mode) / 2


@pytest.mark.parametrize("form", FORMS)
def test_other_ways_to_force_a_call(server: RunningServer, form: str) -> None:
    told = answers(server, [(seed, stream) for seed in range(6) for stream in (False, True)], **FORMS[form])
    for each in told:
        assert_kept(each)
    assert any(each.finish == "tool_calls" for each in told)
