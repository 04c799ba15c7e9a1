"""Over every chat template of llama.cpp's distribution: what is counted is what a generation computes, the prompt that
is told is what it computes it from, and a prefix that is named ends where another conversation may go on otherwise."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import sdist
from driving import prepared
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from msgspec.structs import replace
from test_names import INFO
from tiny_models import write_gguf

from nitro.api.openai.parse import read_chat
from nitro.engines import messages
from nitro.engines.sampling_defaults import NOTHING
from nitro.engines.types import GenerationParams, SamplingParams
from nitro.engines.work import Keep, Work, decode_work, encode_work
from nitro.engines.worker.token_questions import TokenQuestions
from nitro.models.setup import ModelSetup
from nitro.service.intake.messages import Prepared, Rendered
from nitro.service.intake.prepare import Preparer

SYSTEM, QUESTION = "You watch the river.", "Who came by today?"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "count_ships",
            "description": "Counts them.",
            "parameters": {"type": "object", "properties": {"kind": {"type": "string", "description": "Which."}}},
        },
    }
]
TALK = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "Two ships 🌊."},
    {"role": "user", "content": "Who else?"},
]
CONTROL = {"type": "ephemeral"}


# Templates that write something anew before the last message, which no prefix can hold
MOVING = {
    "Mistral-Small-3.2-24B-Instruct-2506": "the tools",
    "mistralai-Mistral-Nemo-Instruct-2407": "the system message",
}


@pytest.fixture(scope="module", params=[LlamaScorer, MlxScorer])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What prepares requests for an engine, with a context that all prompts fit into. Nothing is computed."""
    model = write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")
    runner = request.param(Path(model), context=256, parallel=1)
    info = replace(runner.info, context=2**16)
    yield SimpleNamespace(info=info, tokenizer=runner.tokenizer, prepare=lambda sampling: None, media=None)
    runner.close()


@cache
def preparer(name: str) -> Preparer:
    source = sdist.templates()[name]
    return Preparer(ModelSetup(replace(INFO, context=2**20), ["tiny"], source, source, None, NOTHING))


def read(name: str, talk: list[dict[str, Any]], **fields: Any) -> Prepared:
    return preparer(name).prepare(json.dumps({"messages": talk, "seed": 1, **fields}).encode(), read_chat)


def work_of(read: Prepared) -> Work:
    return decode_work(read.work.raw)


def answered(questions: TokenQuestions, question: messages.Tokenize) -> messages.Tokenized:
    slices = questions.tokenize(question)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            return done.value.answer


@pytest.mark.parametrize("name", sdist.templates())
def test_what_is_counted_is_what_is_computed(runner: Any, name: str) -> None:
    questions = TokenQuestions(runner.tokenizer, runner.info)
    for fields in ({}, {"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": TOOLS, "n": 2}):
        made = read(name, TALK, **fields)
        counted = answered(questions, messages.Tokenize(1, made.work.raw)).counts
        told = msgspec.json.decode(Rendered.of(made).prompt)
        assert told == work_of(made).prompts[0]
        assert counted == [len(runner.tokenizer.encode(told))]
        accepted = prepared(runner, made.work).answer
        assert isinstance(accepted, messages.Accepted) and accepted.prompt_tokens == counted[0]


def marked(talk: list[dict[str, Any]], place: int) -> list[dict[str, Any]]:
    """With a breakpoint at the end of a message."""
    part = {"type": "text", "text": talk[place]["content"], "cache_control": CONTROL}
    return [{**message, "content": [part]} if i == place else message for i, message in enumerate(talk)]


@pytest.mark.parametrize("name", sdist.templates())
def test_a_named_prefix_is_that_of_other_conversations(name: str) -> None:
    """It holds the message that it ends with, and all that begin alike begin with it."""
    for fields in ({}, {"tools": TOOLS}):
        for place in (0, 3):
            work = work_of(read(name, marked(TALK, place), **fields))
            (keep,) = work.keeps
            assert isinstance(work.prompts[0], str) and keep.end is not None and keep.seconds == 300
            prefix = work.prompts[0][: keep.end]
            assert TALK[place]["content"] in prefix
            other = [
                *TALK[: place + 1],
                {"role": "assistant", "content": "Nobody."},
                {"role": "user", "content": "So?"},
            ]
            if place == 0:
                other = [TALK[0], {"role": "user", "content": "Something else."}]
            text = work_of(read(name, other, **fields)).prompts[0]
            if name not in MOVING:
                assert isinstance(text, str) and text.startswith(prefix)
                assert place or QUESTION not in prefix


@pytest.mark.parametrize("name", sdist.templates())
def test_a_prefix_of_tools_has_all_of_them(name: str) -> None:
    tools = [{**TOOLS[0], "cache_control": CONTROL}]
    work = work_of(read(name, TALK, tools=tools))
    (keep,) = work.keeps
    assert isinstance(work.prompts[0], str) and keep.end is not None
    prefix = work.prompts[0][: keep.end]
    assert "Counts them." in prefix and "Which." in prefix and "Who else?" not in prefix


def test_of_two_times_for_one_prefix_the_longer_counts(runner: Any) -> None:
    text = "You watch the river, and write down each and every ship that comes by, whatever it carries."
    keeps = [Keep(3600, len(text) - 10), Keep(300, len(text) - 10)]
    made = encode_work([text], GenerationParams(sampling=SamplingParams()), 1, keeps)
    (sequence,) = prepared(runner, made).sequences
    assert [keep.seconds for keep in sequence.keeps] == [3600]
