"""Text completions: over the fake engine, whose token n+1 follows token n, and over both real ones."""

import math
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from running import RunningServer
from tiny_models import VOCABULARY, write_gguf

from nitro.api.openai.completions import _Echo
from nitro.engines.backends.fill_in_middle import KNOWN
from nitro.gguf.header import read
from nitro.gguf.tokenizer import build


def complete(server: RunningServer, strict: bool = True, **options):
    """The SDK's types know no null finish reason, which every chunk but the last has, and no null logprob."""
    client = server.client(_strict_response_validation=strict and not options.get("stream"))
    return client.completions.create(**{"model": "", "max_tokens": 3, **options})


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [("ab", ["cde"]), (["ab", "x"], ["cde", "yz{"]), ([97, 98], ["cde"]), ([[97], [65, 66]], ["bcd", "CDE"])],
)
def test_every_form_of_prompt(fake_server: RunningServer, prompt, texts: list[str]) -> None:
    reply = complete(fake_server, prompt=prompt)
    assert [(c.index, c.text, c.finish_reason) for c in reply.choices] == [
        (i, t, "length") for i, t in enumerate(texts)
    ]
    assert reply.object == "text_completion" and reply.id.startswith("cmpl-")
    assert reply.usage.completion_tokens == 3 * len(texts)
    flat = prompt if isinstance(prompt, str) or isinstance(prompt[0], int) else [t for part in prompt for t in part]
    assert reply.usage.prompt_tokens == len(flat)
    streamed = [""] * len(texts)
    finishes = []
    for chunk in complete(fake_server, prompt=prompt, stream=True):
        (choice,) = chunk.choices
        streamed[choice.index] += choice.text
        finishes += [choice.finish_reason] if choice.finish_reason else []
    assert streamed == texts and finishes == ["length"] * len(texts)


def test_choices_are_numbered_by_prompt(fake_server: RunningServer) -> None:
    reply = complete(fake_server, prompt=["a", "A"], n=2)
    assert [(c.index, c.text) for c in reply.choices] == [(0, "bcd"), (1, "bcd"), (2, "BCD"), (3, "BCD")]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (2, 12)


def test_stop_usage_and_end(fake_server: RunningServer) -> None:
    reply = complete(fake_server, prompt="ab", stop=["ef"], max_tokens=10)
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("cd", "stop")
    *_, last = complete(fake_server, prompt="x", stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.total_tokens == 4
    assert complete(fake_server, prompt="x", max_tokens=None).choices[0].text == "yz{|}~"


def test_echo(fake_server: RunningServer) -> None:
    assert complete(fake_server, prompt=["ab", "ů"], echo=True).choices[0].text == "abcde"
    assert complete(fake_server, prompt=[0xC5, 0xAF, 97], echo=True).choices[0].text == "ůabcd"
    reply = complete(fake_server, prompt="ab", echo=True, max_tokens=0)
    assert (reply.choices[0].text, reply.usage.completion_tokens) == ("ab", 0)
    chunks = list(complete(fake_server, prompt="ab", echo=True, stream=True))
    assert [chunk.choices[0].text for chunk in chunks] == ["abc", "d", "e"]


def test_legacy_logprobs(fake_server: RunningServer) -> None:
    told = complete(fake_server, prompt="ab", logprobs=1).choices[0].logprobs
    assert (told.tokens, told.text_offset, told.token_logprobs) == (["c", "d", "e"], [0, 1, 2], [-0.99, -1.0, -1.01])
    assert told.top_logprobs[0] == {"\0": 0.0, "c": -0.99}
    assert complete(fake_server, prompt="ab", logprobs=0).choices[0].logprobs.top_logprobs is None
    assert complete(fake_server, prompt="ab").choices[0].logprobs is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_scored_prompt(fake_server: RunningServer, stream: bool) -> None:
    options = {"prompt": ["aůb", "aůb"], "logprobs": 1, "echo": True, "max_tokens": 1, "strict": False}
    reply = complete(fake_server, stream=stream, **options)
    choices = [chunk.choices[0] for chunk in reply] if stream else reply.choices
    assert len(choices) == 2
    for choice in choices:
        told = choice.logprobs
        assert choice.text == "aůbc"
        assert told.tokens == ["a", "bytes:\\xc5", "bytes:\\xaf", "b", "c"]
        assert told.text_offset == [0, 1, 1, 2, 3]
        assert told.token_logprobs == [None, -1.97, -1.75, -0.98, -0.99]
        assert told.top_logprobs[0] is None and told.top_logprobs[3] == {"\0": 0.0, "b": -0.98}


def test_a_text_begins_as_the_model_s_texts_do(serve) -> None:
    server = serve(engine="runners:BeginningRunner").ready()
    reply = complete(server, False, prompt="ab", logprobs=0, echo=True, max_tokens=0)
    assert reply.usage.prompt_tokens == 3 and reply.choices[0].text == "ab"
    assert reply.choices[0].logprobs.tokens == ["a", "b"]
    assert reply.choices[0].logprobs.token_logprobs == [-0.97, -0.98]
    assert complete(server, prompt=[97, 98]).usage.prompt_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_scored_of_an_empty_text(serve, stream: bool) -> None:
    server = serve(engine="runners:BeginningRunner").ready()
    reply = complete(server, False, prompt="", logprobs=1, echo=True, max_tokens=0, stream=stream)
    (choice,) = [chunk.choices[0] for chunk in reply] if stream else reply.choices
    assert (choice.text, choice.logprobs.tokens, choice.logprobs.text_offset) == ("", [], [])


def test_the_space_that_a_vocabulary_puts_before_a_text_is_no_part_of_it() -> None:
    assert _Echo("ab c", [b" a", b"b", b" c"]).tokens == [(" a", 0), ("b", 1), (" c", 2)]
    assert _Echo(" ab", [b" a", b"b"]).tokens == [(" a", 0), ("b", 2)]
    assert _Echo([5, 6], [b" a", b"b"]).tokens == [(" a", 0), ("b", 2)]


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": ["a", 1]}, "prompt", "invalid_value"),
        ({"prompt": [[1], []]}, "prompt", "invalid_value"),
        ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
        ({"prompt": [300]}, "prompt", "invalid_value"),
        ({"prompt": "a" * 5000}, "prompt", "context_length_exceeded"),
        ({"prompt": ["a"] * 100, "n": 100}, "prompt", "invalid_value"),
        ({"prompt": {"a": 1}}, "prompt", "invalid_type"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "unsupported_parameter"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "suffix", "invalid_value"),
        ({"prompt": [97], "suffix": "b"}, "suffix", "invalid_value"),
        ({"prompt": "a", "best_of": 1, "n": 2}, "best_of", "invalid_value"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of", "invalid_value"),
        ({"prompt": "a", "logprobs": 21}, "logprobs", "invalid_value"),
        ({"prompt": "a", "max_tokens": -2}, "max_tokens", "invalid_value"),
        ({}, "prompt", "missing_required_parameter"),
    ],
)
def test_errors_name_the_field(fake_server: RunningServer, options: dict, param: str, code: str) -> None:
    reply = httpx.post(f"{fake_server.url}/v1/completions", json=options)
    assert reply.status_code == 400
    assert (reply.json()["error"]["param"], reply.json()["error"]["code"]) == (param, code)


def test_suffix(serve) -> None:
    server = serve(engine="runners:InfillRunner").ready()
    reply = complete(server, prompt=["ab", "c"], suffix="xyz")
    assert [choice.text for choice in reply.choices] == ["?@A", "?@A"], "what follows the last of the three tokens"
    assert reply.usage.prompt_tokens == len("<ab|xyz>") + len("<c|xyz>")
    assert complete(server, prompt="ab", suffix="").choices[0].text == "cde"
    assert server.client().models.retrieve(server.server.models.default.source.id).model_extra["capabilities"]["suffix"]


# Both engines


@pytest.mark.parametrize("engine", ["llama", "mlx"])
@pytest.mark.parametrize("names", KNOWN[:4], ids=str)
def test_the_middle_between_a_prompt_and_its_suffix(serve, tmp_path: Path, engine: str, names: tuple[str, ...]) -> None:
    """The same as from the tokens themselves, in the order in which models are trained."""
    file = write_gguf(tmp_path / "infill.gguf", names=dict(zip((5, 7, 6), names, strict=True)))
    server = serve(engine=engine, model=str(file), parallel=2).ready()
    assert server.engine.info.infill == names
    encode = build(read(file)).encode
    tokens = [5, *encode("The river ").ids, 7, *encode(" to the sea.").ids, 6]
    options = {"temperature": 0, "max_tokens": 8}
    filled = complete(server, prompt="The river ", suffix=" to the sea.", **options)
    assert filled.usage.prompt_tokens == len(tokens)
    assert filled.choices[0].text == complete(server, prompt=tokens, **options).choices[0].text != ""


def test_a_vocabulary_without_such_tokens(server: RunningServer) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(server, prompt="a", suffix="b")
    assert (caught.value.param, caught.value.code) == ("suffix", "unsupported_parameter")


TEXT = "The river 🐎 ran down to the sea, and the people said that it would "
CLOSE = 0.05  # batch numerics, in logits of the tiny model


def test_prompts_are_scored_by_the_model(server: RunningServer, model: Path) -> None:
    """Each of several, longer than one step, cached or not, beside other choices."""
    scorer = {"llama": LlamaScorer, "mlx": MlxScorer}[server.engine.spec.engine](model, context=512)
    prompts = [scorer.tokenizer.encode(TEXT * count) for count in (1, 7, 1)]
    assert len(prompts[1]) > 150
    scored = [scorer.logits(prompt, [1] * len(prompt)).astype(np.float64)[:-1] for prompt in prompts]
    for rows in scored:
        rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    options = {"prompt": prompts, "logprobs": 3, "echo": True, "max_tokens": 0}
    for _ in range(2):
        reply = complete(server, False, **options)
        for prompt, rows, choice in zip(prompts, scored, reply.choices, strict=True):
            told = choice.logprobs
            assert told.token_logprobs[0] is None and len(told.tokens) == len(prompt)
            assert np.abs(rows[np.arange(len(rows)), prompt[1:]] - told.token_logprobs[1:]).max() < CLOSE
            best = [max(top.values()) for top in told.top_logprobs[1:]]
            assert np.abs(rows.max(axis=1) - best).max() < CLOSE
    assert reply.choices[0].text == TEXT and reply.usage.prompt_tokens == sum(map(len, prompts))
    scorer.close()


def test_a_completion_on_both(server: RunningServer) -> None:
    """From text or ids, streamed or not, the same; best_of gives the likeliest."""
    greedy = {"prompt": TEXT, "temperature": 0, "max_tokens": 12, "extra_body": {"ignore_eos": True}}
    whole = complete(server, **greedy).choices[0].text
    assert "".join(chunk.choices[0].text for chunk in complete(server, stream=True, **greedy)) == whole != ""
    both = complete(server, **{**greedy, "prompt": [TEXT, "Who "]})
    assert both.choices[0].text == whole != both.choices[1].text
    warm = {"prompt": TEXT, "temperature": 1.0, "max_tokens": 6, "seed": 3, "extra_body": {"ignore_eos": True}}
    every = complete(server, n=4, logprobs=0, **warm)
    means = [sum(c.logprobs.token_logprobs) / len(c.logprobs.token_logprobs) for c in every.choices]
    best = complete(server, best_of=4, **warm)
    assert best.choices[0].text == every.choices[int(np.argmax(means))].text
    assert best.usage.completion_tokens == 24 and math.isfinite(max(means))
    with pytest.raises(openai.BadRequestError, match="vocabulary"):
        complete(server, prompt=[VOCABULARY])
