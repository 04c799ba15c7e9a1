"""What a client may rely on, on both engines: one GGUF file, the OpenAI SDK, real engine processes.

The model is a tiny random one: its text means nothing, but every rule about text can be checked on it.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from running import CEILING, RunningServer, wait_gone
from same_answer import assert_same_answer, tolerance
from tiny_models import VOCABULARY

from nitro.config import ServeConfig
from nitro.engines.types import SAMPLERS, GenerationParams, SamplingParams
from nitro.engines.work import encode_work
from nitro.errors import PromptRejected
from nitro.gguf.header import read
from nitro.gguf.tokenizer import build
from nitro.text.template import ChatTemplate

CONTEXT = 256
EOS = 2
STORY = [{"role": "user", "content": "Tell me a story about the river."}]
GREEDY = {"temperature": 0, "extra_body": {"ignore_eos": True}}
HOT = {**GREEDY, "temperature": 1, "n": 4}  # texts that do not repeat, so that no draft brings them to their end early


@pytest.fixture(scope="module", params=["llama", "mlx"])
def server(request: pytest.FixtureRequest, model: Path) -> Iterator[RunningServer]:
    config = ServeConfig(engine=request.param, model=str(model), port=0, context=CONTEXT, parallel=4)
    with RunningServer(config) as server:
        yield server.ready()


@pytest.fixture
def client(server: RunningServer) -> openai.OpenAI:
    return server.client(_strict_response_validation=True)


def ask(client: openai.OpenAI, messages=STORY, **options) -> str:
    return client.chat.completions.create(model="", messages=messages, **options).choices[0].message.content


def conversation(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Question number {number}: " + "what is " * number}]


# Predicted outputs


ATTEMPTS = 100  # each takes more of what the scheduler allows for finding out whether guesses pay here


def test_a_prediction_changes_no_answer(client: openai.OpenAI, server: RunningServer) -> None:
    """Tokens of it are checked together, as many as pay on this machine."""
    asked = {"model": "", "messages": STORY, "max_tokens": 60, **GREEDY}
    answer = client.chat.completions.create(**asked).choices[0].message.content
    predicted = {**asked, "prediction": {"type": "content", "content": answer}}
    for _ in range(ATTEMPTS):
        server.engine.steps.clear()
        whole = client.chat.completions.create(**predicted)
        assert whole.choices[0].message.content == answer
        details = whole.usage.completion_tokens_details
        decodes = sum(row.stop - row.start == 1 for step in server.engine.steps for row in step.rows)
        assert decodes <= 60 - details.accepted_prediction_tokens, "each saves a step"
        if details.accepted_prediction_tokens or not server.engine.info.draft_tokens:
            break
    assert bool(details.accepted_prediction_tokens) == bool(server.engine.info.draft_tokens)
    streamed = list(client.chat.completions.create(**predicted, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == answer
    counted = streamed[-1].usage.completion_tokens_details
    if not server.engine.info.draft_tokens:
        assert counted.accepted_prediction_tokens == counted.rejected_prediction_tokens == 0


def test_a_prediction_that_is_wrong_changes_nothing_either(client: openai.OpenAI, server: RunningServer) -> None:
    asked = {"model": "", "messages": STORY, "max_tokens": 30, **GREEDY}
    answer = client.chat.completions.create(**asked).choices[0].message.content
    other = client.chat.completions.create(**asked, prediction={"type": "content", "content": ["Quite ", "else. " * 9]})
    assert other.choices[0].message.content == answer
    assert other.usage.completion_tokens_details.accepted_prediction_tokens == 0


def test_without_a_prediction_nothing_is_told_of_one(client: openai.OpenAI) -> None:
    assert (
        client.chat.completions.create(model="", messages=STORY, max_tokens=4).usage.completion_tokens_details is None
    )


# Text


def test_an_answer(client: openai.OpenAI, server: RunningServer) -> None:
    reply = client.chat.completions.create(model="", messages=STORY, max_tokens=20, **GREEDY)
    (choice,) = reply.choices
    assert reply.model == "tiny" and choice.finish_reason == "length"
    assert len(choice.message.content) > 20 and "<|im" not in choice.message.content
    prompt = ChatTemplate(server.engine.info.template).render(STORY)
    assert reply.usage.completion_tokens == 20 and 20 < reply.usage.prompt_tokens < len(prompt)
    assert reply.usage.total_tokens == 20 + reply.usage.prompt_tokens


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="", messages=STORY, max_tokens=30, **GREEDY)
    options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 30}
    *chunks, last = client.chat.completions.create(model="", messages=STORY, **options, **GREEDY)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]
    assert last.choices == [] and last.usage.completion_tokens == 30
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens


def test_the_greedy_answer_is_the_model_s(server: RunningServer, client: openai.OpenAI, model: Path) -> None:
    """Eight conversations at once on four slots: each gets what a model of its own, alone, gives."""
    engine, scorer_class = server.engine, {"llama": LlamaScorer, "mlx": MlxScorer}[server.engine.spec.engine]
    template = ChatTemplate(engine.info.template)
    texts = [template.render(conversation(number)) for number in range(8)]

    async def answer(text: str) -> list[int]:
        tokens = []
        async for burst in await engine.generate(
            encode_work([text], GenerationParams(SamplingParams(temperature=0), 40))
        ):
            tokens += [token for _, output in burst for token in output.tokens]
        return tokens

    async def together() -> list[list[int]]:
        return await asyncio.gather(*map(answer, texts))

    engine.steps.clear()
    answers = server.run(together())
    assert max(len(record.rows) for record in engine.steps) > 1  # how many meet depends on the machine
    scorer = scorer_class(model, context=CONTEXT)
    prompts = [scorer.tokenizer.encode(text) for text in texts]
    explained = tolerance(scorer, (prompts[7] + answers[7] + prompts[6])[:120] * 2)
    for prompt, tokens in zip(prompts, answers, strict=True):
        assert_same_answer(scorer, prompt, tokens, explained)
    scorer.close()


def test_two_choices(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="", messages=STORY, n=2, seed=5, temperature=1.0, max_tokens=12)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].message.content != reply.choices[1].message.content
    assert reply.usage.completion_tokens <= 24
    stream = client.chat.completions.create(model="", messages=STORY, n=2, max_tokens=5, stream=True, **GREEDY)
    texts = {0: "", 1: ""}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts[0] == texts[1] != ""


def test_stop(client: openai.OpenAI) -> None:
    whole = ask(client, max_tokens=30, **GREEDY)
    word = whole[10:14]
    stopped = client.chat.completions.create(model="", messages=STORY, stop=[word], max_tokens=30, **GREEDY)
    assert stopped.choices[0].message.content == whole[: whole.index(word)]
    assert stopped.choices[0].finish_reason == "stop"
    stream = client.chat.completions.create(model="", messages=STORY, stop=[word], max_tokens=30, stream=True, **GREEDY)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == whole[: whole.index(word)]


def test_a_second_turn_finds_the_first_in_the_cache(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="", messages=STORY, max_tokens=10, **GREEDY)
    turn = [*STORY, {"role": "assistant", "content": "Once."}, {"role": "user", "content": "And then?"}]
    second = client.chat.completions.create(model="", messages=turn, max_tokens=10, **GREEDY)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1


# Sampling


def test_seeds(client: openai.OpenAI) -> None:
    """The same seed gives the same text, beside other requests too; another seed gives another. Without the filters
    that the model recommends: they sort, and numbers that are nearly equal change places with the batch's numerics."""
    unfiltered = {"extra_body": {"top_k": 0, "min_p": 0}, "top_p": 1}
    options = {"temperature": 1.0, "max_tokens": 12, **unfiltered}
    alone = ask(client, seed=7, **options)
    with ThreadPoolExecutor() as pool:
        noise = [pool.submit(ask, client, conversation(i), seed=i, temperature=1.0, max_tokens=20) for i in range(3)]
        beside = [ask(client, seed=seed, **options) for seed in (7, 7 + 2**31, 8)]
        assert all(text.result(CEILING) for text in noise)
    assert beside[0] == beside[1] == alone != beside[2]


def test_logit_bias(client: openai.OpenAI, server: RunningServer) -> None:
    """By token id as OpenAI has it, and by text."""
    forced = ask(client, max_tokens=3, temperature=0, logit_bias={"300": 100})
    assert forced == ask(client, max_tokens=1, temperature=0, logit_bias={"300": 100}) * 3 != ""
    assert ask(client, max_tokens=3, temperature=0, extra_body={"logit_bias": {" the": 100}}) == " the the the"
    pairs = {"logit_bias": [[300, 100], [" the", False]]}
    assert ask(client, max_tokens=3, temperature=0, extra_body=pairs) == forced
    plain = server.run(first_token(server, SamplingParams(temperature=0)))
    banned = server.run(first_token(server, SamplingParams(temperature=0, logit_bias={plain: -100.0})))
    assert banned != plain
    with pytest.raises(openai.BadRequestError, match=f"{VOCABULARY} is not in the vocabulary") as caught:
        ask(client, logit_bias={str(VOCABULARY): 1})
    assert caught.value.param == "logit_bias"


async def first_token(server: RunningServer, sampling: SamplingParams) -> int:
    async for burst in await server.engine.generate(encode_work(["Hello"], GenerationParams(sampling, 1))):
        return burst[0][1].tokens[0]


def test_penalties(client: openai.OpenAI) -> None:
    """Among ten words that are likely above all others, those that came before become less so."""
    words = " the", " and", " that", " in", " is", " of", " to", " for", " it", " on"
    bias = {"logit_bias": dict.fromkeys(words, 60)}

    def said(**penalty: float) -> list[str]:
        return ask(client, max_tokens=24, temperature=0, extra_body={**bias, **penalty}).split()

    plain = said()
    for penalty in ({"frequency_penalty": 2}, {"presence_penalty": 2}, {"repetition_penalty": 1.1}):
        assert len(set(said(**penalty))) > len(set(plain)), penalty
    assert said(frequency_penalty=2, repeat_last_n=0) == plain
    assert said(repeat_penalty=1.5) == said(repetition_penalty=1.5) != plain


def test_filters(client: openai.OpenAI) -> None:
    """Each leaves the best token alone, however hot."""
    best = ask(client, max_tokens=6, temperature=0)
    for keep_best in ({"top_k": 1}, {"top_p": 0.0001}, {"min_p": 1.0}, {"top_n_sigma": 1e-6}):
        assert ask(client, max_tokens=6, temperature=5.0, extra_body=keep_best) == best, keep_best


def test_typical_p(client: openai.OpenAI) -> None:
    """It leaves one token, the most typical one; that of six at a time need not be the best."""
    options = {"max_tokens": 6, "temperature": 1.0}
    typical = {ask(client, seed=seed, **options, extra_body={"typical_p": 0.0001}) for seed in (1, 2, 3)}
    assert len(typical) == 1 < len({ask(client, seed=seed, **options) for seed in (1, 2, 3)})


def test_xtc(client: openai.OpenAI) -> None:
    """Of two tokens it leaves the second, however likely the first."""
    second = {"top_k": 2, "xtc_probability": 1, "xtc_threshold": 0}
    options = {"max_tokens": 6, "temperature": 1.0}
    (said,) = {ask(client, seed=seed, **options, extra_body=second) for seed in (1, 2, 3)}
    assert said != ask(client, max_tokens=6, temperature=0)
    off = {"top_k": 2, "xtc_probability": 1, "xtc_threshold": 0.51}
    assert len({ask(client, seed=seed, **options, extra_body=off) for seed in (1, 2, 3)}) > 1


def test_dynamic_temperature(client: openai.OpenAI) -> None:
    """Anything less than the greatest entropy, to the hundredth power, is next to no temperature."""
    best = ask(client, max_tokens=6, temperature=0)
    cold = {"dynatemp_range": 3.0, "dynatemp_exponent": 100}
    assert ask(client, max_tokens=6, temperature=3.0, extra_body=cold) == best
    assert ask(client, max_tokens=6, temperature=3.0, extra_body={"dynatemp_exponent": 100}) != best


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_capability_says_what_is_refused(client: openai.OpenAI, name: str) -> None:
    able = client.models.retrieve("tiny").model_extra["capabilities"][name]
    options = {"model": "", "messages": STORY, "max_tokens": 3}
    if able:
        client.chat.completions.create(**options, extra_body={name: 1})
        return
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**options, extra_body={name: 1})
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    client.chat.completions.create(**options, extra_body={name: 0})


def test_what_each_engine_is_able_to(client: openai.OpenAI, server: RunningServer) -> None:
    capabilities = client.models.retrieve("tiny").model_extra["capabilities"]
    unable = {name for name in SAMPLERS if not capabilities[name]}
    assert unable == {"llama": set(), "mlx": {"mirostat", "dry_multiplier"}}[server.engine.spec.engine]


def test_ignore_eos(client: openai.OpenAI) -> None:
    bias = {"logit_bias": {str(EOS): 100}, "max_tokens": 9, "temperature": 0}
    ended = client.chat.completions.create(model="", messages=STORY, **bias)
    assert (ended.choices[0].finish_reason, ended.usage.completion_tokens) == ("stop", 1)
    assert ended.choices[0].message.content == ""
    endless = client.chat.completions.create(model="", messages=STORY, **bias, extra_body={"ignore_eos": True})
    assert (endless.choices[0].finish_reason, endless.usage.completion_tokens) == ("length", 9)


def test_token_ids(client: openai.OpenAI, model: Path) -> None:
    """They are the answer's, the end of generation included."""
    asked = {"model": "", "messages": STORY, "max_tokens": 12, "temperature": 0}
    (choice,) = client.chat.completions.create(**asked, extra_body={"return_tokens": True, "ignore_eos": True}).choices
    tokens = choice.model_extra["tokens"]
    assert len(tokens) == 12 and build(read(model)).decode(tokens) == choice.message.content
    ended = client.chat.completions.create(**asked, logit_bias={str(EOS): 100}, extra_body={"return_tokens": True})
    assert ended.choices[0].model_extra["tokens"] == [EOS]


def test_cache_prompt(client: openai.OpenAI) -> None:
    asked = {"model": "", "messages": STORY, "max_tokens": 12, **GREEDY}
    first = client.chat.completions.create(**asked)
    asked["extra_body"] = GREEDY["extra_body"] | {"cache_prompt": False}
    fresh = client.chat.completions.create(**asked)
    assert fresh.usage.prompt_tokens_details.cached_tokens == 0 == fresh.model_extra["timings"]["cache_n"]
    assert fresh.choices[0].message.content == first.choices[0].message.content
    asked["extra_body"] |= {"cache_prompt": True}
    assert client.chat.completions.create(**asked).usage.prompt_tokens_details.cached_tokens > 0


def test_min_tokens(client: openai.OpenAI) -> None:
    """The end comes as soon as it may, beside another answer that takes its own way."""
    ending = {"logit_bias": {str(EOS): 100}, "max_tokens": 9, "temperature": 0}

    def tokens(least: int) -> tuple[str, int]:
        reply = client.chat.completions.create(model="", messages=STORY, **ending, extra_body={"min_tokens": least})
        return reply.choices[0].finish_reason, reply.usage.completion_tokens

    with ThreadPoolExecutor() as pool:
        beside = pool.submit(ask, client, max_tokens=12, **GREEDY)
        found = list(pool.map(tokens, (0, 1, 5, 8, 9)))
        assert beside.result(CEILING) == ask(client, max_tokens=12, **GREEDY)
    assert found == [("stop", 1), ("stop", 2), ("stop", 6), ("stop", 9), ("length", 9)]


def test_min_tokens_under_a_grammar(client: openai.OpenAI) -> None:
    """It goes on where the grammar can; where it cannot, its end is the end."""
    ending = {"logit_bias": {str(EOS): 100}, "max_tokens": 20, "temperature": 0}
    six = client.chat.completions.create(
        model="", messages=STORY, **ending, extra_body={"regex": "[a-z ]*", "min_tokens": 6}
    )
    assert (six.choices[0].finish_reason, six.usage.completion_tokens) == ("stop", 7)
    assert ask(client, **ending, extra_body={"regex": "[a-z ]*"}) == ""
    assert ask(client, **ending, extra_body={"choice": ["yes"], "min_tokens": 15}) == "yes"


# Limits and faults


def filled(server: RunningServer, spare: int) -> tuple[list[dict[str, str]], int]:
    """A conversation whose prompt leaves that many tokens of the context, and the prompt's length."""
    template = ChatTemplate(server.engine.info.template)
    tokenizer = build(read(Path(server.engine.spec.model)))

    def conversation(count: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": "1" * count}]  # a digit is a token

    def length(count: int) -> int:
        return len(tokenizer.encode(template.render(conversation(count))).ids)

    count = CONTEXT - spare - length(0)
    assert length(count) == CONTEXT - spare
    return conversation(count), CONTEXT - spare


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("spare", [0, -1, -300])
def test_overflow(client: openai.OpenAI, server: RunningServer, spare: int, stream: bool) -> None:
    """A 400 with both numbers, before the headers of a stream: the answer needs a token, too."""
    messages, length = filled(server, spare)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="", messages=messages, stream=stream)
    error = caught.value
    assert (error.status_code, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert f"{CONTEXT} tokens" in error.message and f"{length} tokens" in error.message
    assert error.response.headers["x-should-retry"] == "false"


def test_what_is_far_too_long_is_not_read_to_its_end(client: openai.OpenAI) -> None:
    words = rf"maximum context length is {CONTEXT}.*more than \d+ tokens"
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        ask(client, [{"role": "user", "content": "no end " * 100_000}])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize("spare", [1, 2, 7])
def test_exactly_full(client: openai.OpenAI, server: RunningServer, spare: int) -> None:
    """max_tokens is what is left, whether it is asked for or not, and the finish reason tells."""
    messages, length = filled(server, spare)
    for most in ({}, {"max_tokens": 1000}):
        reply = client.chat.completions.create(model="", messages=messages, **most, **GREEDY)
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (length, spare)
        assert reply.choices[0].finish_reason == "length"


def test_the_context_can_be_filled(client: openai.OpenAI) -> None:
    """Without max_tokens an answer has what is left of the context."""
    reply = client.chat.completions.create(model="", messages=conversation(60), **GREEDY)
    assert reply.choices[0].finish_reason == "length" and reply.usage.total_tokens == CONTEXT


@pytest.mark.parametrize("prompt", [[20, VOCABULARY], [-1, 20], []])
def test_tokens_that_the_model_does_not_know(server: RunningServer, prompt: list[int]) -> None:
    with pytest.raises(PromptRejected, match=r"vocabulary|empty"):
        server.run(server.engine.generate(encode_work([prompt], GenerationParams(SamplingParams(), 1))))


def test_errors(client: openai.OpenAI) -> None:
    for options, param in (({"temperature": -1}, "temperature"), ({"n": 0}, "n"), ({"top_p": 2}, "top_p")):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, **options)
        assert caught.value.param == param


def test_more_requests_than_slots(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(12) as pool:
        texts = list(pool.map(lambda i: ask(client, conversation(i % 3), max_tokens=8, **GREEDY), range(12)))
    assert [texts[i] for i in range(3)] == texts[3:6] == texts[6:9] == texts[9:]


def test_a_client_that_leaves(server: RunningServer, client: openai.OpenAI) -> None:
    """Its slot is idle soon, and holds what was computed."""
    prompt = conversation(60)  # more than half of the context: its slot is worth cutting, however far it went
    stream = client.chat.completions.create(model="", messages=prompt, stream=True, **HOT)
    next(chunk for chunk in stream if chunk.choices[0].delta.content)  # its prompt has been computed
    os.kill(server.engine.pid, signal.SIGSTOP)  # it must not be faster than the client
    stream.close()
    while "client=left" not in server.log_line():
        pass
    os.kill(server.engine.pid, signal.SIGCONT)
    again = client.chat.completions.create(model="", messages=prompt, max_tokens=3, **GREEDY)
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens - 1
    record = server.engine.steps[-1]
    assert (record.running, record.waiting, record.idle) == (0, 0, server.engine.info.slots)


def test_engine_killed_in_mid_stream(server: RunningServer, client: openai.OpenAI) -> None:
    """Last in this module: the engine is started anew."""
    before = ask(client, max_tokens=10, **GREEDY)
    stream = client.chat.completions.create(model="", messages=STORY, stream=True, **HOT)
    next(stream)
    gone = os.pidfd_open(server.engine.pid)
    os.kill(server.engine.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="SIGKILL"):
        list(stream)
    wait_gone(gone)
    assert ask(client, max_tokens=10, **GREEDY) == before
