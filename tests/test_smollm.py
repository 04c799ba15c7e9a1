"""The embedded default model on both engines, through the OpenAI SDK and real engine processes.

What holds for any model is tested in test_two_engines.py; MLX on the CPU takes a tenth of a second for a token of this
one, so the questions here are few and short.
"""

from collections.abc import Iterator

import openai
import pytest
from running import RunningServer

from nitro.config import ServeConfig
from nitro.engines.sampling_defaults import SamplingDefaults

# The greedy answer is "The capital of France is Paris.", each token more than 2 logits above the next best: no batch
# numerics change it, nor do those of another engine.
PARIS = [
    {"role": "system", "content": "You are a teacher of geography."},
    {"role": "user", "content": "Complete the sentence: The capital of France is"},
]


@pytest.fixture(scope="module", params=["llama", "mlx"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine=request.param, port=0, context=512)) as server:
        yield server.ready()


@pytest.fixture
def client(server: RunningServer) -> openai.OpenAI:
    return server.client(_strict_response_validation=True)


def ask(client: openai.OpenAI, messages=PARIS, **options) -> str:
    return client.chat.completions.create(model="", messages=messages, **options).choices[0].message.content


def test_an_answer(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="", messages=PARIS, temperature=0)
    assert reply.choices[0].message.content == "The capital of France is Paris."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "SmolLM2-135M-Instruct"


def test_stream_and_usage(client: openai.OpenAI) -> None:
    options = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model="", messages=PARIS, **options))
    assert "Paris" in "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
    assert chunks[-1].usage.prompt_tokens > 20 and chunks[-1].usage.completion_tokens > 5


def test_the_card_s_sampling_is_the_default(server: RunningServer) -> None:
    """0.2 and 0.9: at temperature 1 so small a model talks gibberish."""
    model = server.server.models.default
    assert model.sampling(model.engine.info) == SamplingDefaults(temperature=0.2, top_p=0.9)


def test_both_engines_tell_the_same_of_the_file(server: RunningServer) -> None:
    info = server.engine.info
    assert (info.trained_context, info.vocabulary, info.eog) == (8192, 49152, {0, 2, 4})
    assert (info.bos, info.eos, info.template[:14]) == ("<|im_start|>", "<|im_end|>", "{% for message")
    assert info.kv_bytes in (info.kv_tokens * 30 * 3 * 64 * 2 * size for size in (2, 4))


def test_logit_bias(client: openai.OpenAI) -> None:
    """By text: all tokens of it."""
    banned = ask(client, temperature=0, max_tokens=8, extra_body={"logit_bias": {" Paris": -100, "Paris": -100}})
    assert "Paris" not in banned


def test_a_conversation_reuses_its_prefix(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="", messages=PARIS, temperature=0)
    turn = [*PARIS, {"role": "assistant", "content": first.choices[0].message.content}]
    turn.append({"role": "user", "content": "Complete the sentence: The capital of Italy is"})
    second = client.chat.completions.create(model="", messages=turn, temperature=0, max_tokens=8)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens
    assert "Italy" in second.choices[0].message.content
