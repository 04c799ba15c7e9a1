"""The embedded default model, through the OpenAI SDK and the real engine process."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from running import CEILING, RunningServer

# The greedy answer is "The capital of France is Paris.", each token more than 2 logits above the next best: no batch
# numerics change it.
PARIS = [
    {"role": "system", "content": "You are a teacher of geography."},
    {"role": "user", "content": "Complete the sentence: The capital of France is"},
]
STORY = [{"role": "user", "content": "Tell me a story."}]


@pytest.fixture
def client(smollm_server: RunningServer) -> openai.OpenAI:
    return smollm_server.client(_strict_response_validation=True)


def ask(client: openai.OpenAI, messages=PARIS, **options) -> str:
    return client.chat.completions.create(model="", messages=messages, **options).choices[0].message.content


def test_an_answer(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="", messages=PARIS, temperature=0)
    assert "Paris" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "SmolLM2-135M-Instruct"
    assert "<|im" not in reply.choices[0].message.content


def test_stream_and_usage(client: openai.OpenAI) -> None:
    options = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model="", messages=PARIS, **options))
    assert "Paris" in "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    assert chunks[-1].usage.prompt_tokens > 20 and chunks[-1].usage.completion_tokens > 5


def test_the_card_s_sampling_is_the_default(smollm_server: RunningServer) -> None:
    """0.2 and 0.9: at temperature 1 so small a model talks gibberish."""
    model = smollm_server.server.models.default
    assert model.sampling(model.engine.info) == {"temperature": 0.2, "top_p": 0.9}


def test_seeds(client: openai.OpenAI) -> None:
    """Another seed, another text, beside other requests too."""
    options = {"temperature": 1.0, "max_tokens": 12}
    with ThreadPoolExecutor() as pool:
        noise = [pool.submit(ask, client, STORY, seed=100 + i, **options) for i in range(3)]
        texts = [ask(client, STORY, seed=seed, **options) for seed in (1, 2)]
        assert len({text.result(CEILING) for text in noise} | set(texts)) == 5


def test_the_same_seed_gives_the_same_text(serve) -> None:
    """Each on a fresh server, so that both runs have the same batches; seeds count modulo 2³¹."""
    texts = []
    for seed in (7, 7 + 2**31):
        server = serve(engine="llama", context=256, parallel=1).ready()
        texts.append(ask(server.client(), STORY, seed=seed, temperature=1.0, max_tokens=20))
    assert texts[0] == texts[1]


def test_choices_have_seeds_of_their_own(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="", messages=STORY, n=3, seed=5, temperature=1.0, max_tokens=12)
    assert len({choice.message.content for choice in reply.choices}) == 3


def test_logit_bias(client: openai.OpenAI) -> None:
    """By token id as OpenAI has it, and by text."""
    banned = ask(client, temperature=0, max_tokens=12, extra_body={"logit_bias": {" Paris": -100, "Paris": -100}})
    assert "Paris" not in banned
    forced = ask(client, temperature=0, max_tokens=3, extra_body={"logit_bias": {" yes": 100}})
    assert forced == " yes yes yes"


def test_penalties_and_filters(client: openai.OpenAI) -> None:
    assert "The capital of France is Paris" in ask(client, temperature=5.0, extra_body={"top_k": 1})
    plain = ask(client, STORY, temperature=0, max_tokens=40)
    for penalty in ({"repetition_penalty": 1.8}, {"repeat_penalty": 1.8}):
        assert ask(client, STORY, temperature=0, max_tokens=40, extra_body=penalty) != plain
    assert ask(client, STORY, temperature=0, max_tokens=40, frequency_penalty=2, presence_penalty=2) != plain


def test_ignore_eos_and_stop(client: openai.OpenAI) -> None:
    options = {"temperature": 0, "max_tokens": 40}
    assert client.chat.completions.create(model="", messages=PARIS, **options).choices[0].finish_reason == "stop"
    endless = client.chat.completions.create(model="", messages=PARIS, extra_body={"ignore_eos": True}, **options)
    assert (endless.choices[0].finish_reason, endless.usage.completion_tokens) == ("length", 40)
    stopped = client.chat.completions.create(model="", messages=PARIS, stop=["Paris"], **options)
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content.rstrip() == "The capital of France is"


def test_a_conversation_reuses_its_prefix(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="", messages=PARIS, temperature=0)
    turn = [*PARIS, {"role": "assistant", "content": first.choices[0].message.content}]
    turn.append({"role": "user", "content": "Complete the sentence: The capital of Italy is"})
    second = client.chat.completions.create(model="", messages=turn, temperature=0)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens
    assert "Italy" in second.choices[0].message.content


def test_overflow(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, [{"role": "user", "content": "word " * 1100}])
    assert caught.value.code == "context_length_exceeded" and "1024" in caught.value.message


def test_many_requests_more_than_slots(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda _: ask(client, temperature=0, max_tokens=8), range(20)))
    assert all("capital" in text for text in texts)


def test_killed_in_mid_stream_and_back(smollm_server: RunningServer, client: openai.OpenAI) -> None:
    """Last in this module: the engine is started anew."""
    stream = client.chat.completions.create(
        model="", messages=STORY, stream=True, max_tokens=900, extra_body={"ignore_eos": True}
    )
    next(stream)
    os.kill(smollm_server.engine.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="SIGKILL"):
        list(stream)
    assert "Paris" in ask(client, temperature=0)
    assert httpx.get(f"{smollm_server.url}/health").status_code == 200
