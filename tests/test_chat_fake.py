"""Chat completions through the OpenAI SDK, HTTP, the real engine process and a runner that counts.

The fake template ends the prompt with "<assistant>", so an answer is "?@AB…~" and then the end.
"""

import json

import httpx
import openai
import pytest
from running import RunningServer

WHOLE = "".join(map(chr, range(ord("?"), ord("~") + 1)))
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(fake_server: RunningServer) -> openai.OpenAI:
    return fake_server.client(_strict_response_validation=True)


def chat(client: openai.OpenAI, **options):
    return client.chat.completions.create(**{"model": "", "messages": HELLO, **options})


def test_whole_answer(client: openai.OpenAI) -> None:
    reply = chat(client)
    assert reply.choices[0].message.content == WHOLE
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.id.startswith("chatcmpl-") and reply.object == "chat.completion"
    assert reply.model == "FakeRunner" and reply.system_fingerprint.startswith("fp_")
    prompt = len("<user>Hello<assistant>")
    assert reply.usage.prompt_tokens == prompt
    assert reply.usage.completion_tokens == len(WHOLE) + 1  # the end is a token, too
    assert reply.usage.total_tokens == prompt + len(WHOLE) + 1


def test_stream_is_the_same(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == WHOLE
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.role for c in chunks[1:]] == [None] * (len(chunks) - 1)
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1
    assert all(c.usage is None for c in chunks)


def test_stream_on_the_wire(fake_server: RunningServer) -> None:
    body = {"messages": HELLO, "stream": True, "max_tokens": 2, "stream_options": {"include_usage": True}}
    reply = httpx.post(f"{fake_server.url}/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-cache"
    frames = reply.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert [c["choices"][0]["delta"] for c in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "?"},
        {"content": "@"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None, None, None, "length"]
    assert [c["usage"] for c in chunks[:-1]] == [None] * 4
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_no_usage_unless_asked(client: openai.OpenAI, fake_server: RunningServer) -> None:
    for options in ({}, {"stream_options": {}}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
        body = {"messages": HELLO, "stream": True, "max_tokens": 1, **options}
        assert "usage" not in httpx.post(f"{fake_server.url}/v1/chat/completions", json=body).text


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_length(client: openai.OpenAI, limit: str) -> None:
    reply = chat(client, **{limit: 5})
    assert reply.choices[0].message.content == WHOLE[:5]
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 5


def test_stop_string_over_tokens(client: openai.OpenAI) -> None:
    """Every token is one letter here, so a stop string of three comes in three pieces."""
    for stop in ("DEF", ["zzz", "DEF"]):
        reply = chat(client, stop=stop)
        assert reply.choices[0].message.content == "?@ABC"
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage.completion_tokens == len("?@ABCDEF")
    chunks = list(chat(client, stop="DEF", stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "?@ABC"


def test_choices(client: openai.OpenAI) -> None:
    reply = chat(client, n=3, max_tokens=4)
    assert [(c.index, c.message.content) for c in reply.choices] == [(i, "?@AB") for i in range(3)]
    assert reply.usage.completion_tokens == 12
    texts = ["", "", ""]
    for chunk in chat(client, n=3, max_tokens=4, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["?@AB"] * 3


def test_ignore_eos_and_the_whole_context(serve) -> None:
    server = serve(context=200).ready()
    reply = chat(server.client(), extra_body={"ignore_eos": True})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.total_tokens == 200


@pytest.mark.parametrize("length", [0, 1])
def test_prompt_at_the_border_of_the_context(serve, length: int) -> None:
    server = serve(context=100).ready()
    fits = 100 - len("<user><assistant>") - 1
    messages = [{"role": "user", "content": "x" * (fits + length)}]
    if length == 0:
        reply = server.client().chat.completions.create(model="", messages=messages)
        assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (1, "length")
        return
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            server.client().chat.completions.create(model="", messages=messages, stream=stream)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
        assert "100 tokens" in caught.value.message


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "invalid_value"),
        ({"logit_bias": {"257": 1}}, "logit_bias", "invalid_value"),
        ({"extra_body": {"max_tokens": "many"}}, "max_tokens", "invalid_type"),
    ],
)
def test_errors_name_the_field(client: openai.OpenAI, options: dict, param: str, code: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, stream=stream, **options)
        assert (caught.value.param, caught.value.code) == (param, code)
        assert caught.value.type == "invalid_request_error"


def test_what_asks_for_nothing_is_taken(client: openai.OpenAI) -> None:
    reply = chat(
        client,
        max_tokens=1,
        tools=[],
        tool_choice="auto",
        response_format={"type": "text"},
        logprobs=False,
        parallel_tool_calls=True,
        stop=None,
        temperature=None,
        seed=None,
    )
    assert reply.choices[0].message.content == "?"


def test_ignored_parameters_are_listed(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, max_tokens=1, user="me", extra_body={"no such\nthing": 1, "nothing": None}
    )
    assert raw.headers["x-nitro-ignored"] == "no%20such%0Athing, model"
    assert raw.parse().model == "FakeRunner"
    assert raw.headers["x-request-id"].startswith("req_")
    plain = client.chat.completions.with_raw_response.create(model="", messages=HELLO, max_tokens=1)
    assert "x-nitro-ignored" not in plain.headers


def test_strict(serve) -> None:
    """What would be listed is refused, the first by name."""
    server = serve(strict=True, alias="mine").ready()
    client = server.client()
    for name in ("mine", "FakeRunner", ""):
        assert chat(client, model=name, max_tokens=1).model == "mine"
    assert client.models.retrieve("FakeRunner").id == "mine"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, model="gpt-4o", stream=stream, extra_body={"no such\nthing": 1, "user": "me"})
        assert (caught.value.param, caught.value.code) == ("no such\nthing", "unknown_parameter")
        with pytest.raises(openai.NotFoundError, match="'gpt-4o' does not exist; served is 'mine'") as missing:
            chat(client, model="gpt-4o", stream=stream)
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as caught:  # which only this model's template has no use for
            chat(client, stream=stream, extra_body={"enable_thinking": True})
        assert (caught.value.param, caught.value.code) == ("enable_thinking", "unknown_parameter")
    assert chat(client, max_tokens=1, extra_body={"service_tier": "auto", "tools": []}).choices


def test_a_model_without_a_template(serve) -> None:
    """Nothing is guessed: chat is a 400 that names the cure, and the model says that it cannot."""
    server = serve(engine="runners:PlainRunner").ready()
    (model,) = server.client().models.list().data
    assert model.capabilities["chat"] is False
    with pytest.raises(openai.BadRequestError, match="--chat-template"):
        chat(server.client())


def test_models(client: openai.OpenAI, fake_server: RunningServer) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.owned_by, model.context_length) == ("FakeRunner", "nitro", 4096)
    assert model.capabilities["chat"] is True and model.loaded is True
    assert client.models.retrieve("FakeRunner").max_model_len == 4096
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("org/other")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/chat/completions", "//v1//chat/completions", "/v1/chat//completions"]
)
def test_forgiving_paths(fake_server: RunningServer, path: str) -> None:
    reply = httpx.post(
        fake_server.url + path,
        content=json.dumps({"messages": HELLO, "max_tokens": 2}),
        headers={"content-type": "text/plain"},
    )
    assert reply.json()["choices"][0]["message"]["content"] == "?@"


def test_other_urls(fake_server: RunningServer) -> None:
    lost = httpx.post(f"{fake_server.url}/v1/nothing")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "unknown_url")
    assert "POST /v1/nothing" in lost.json()["error"]["message"]
    wrong = httpx.get(f"{fake_server.url}/v1/chat/completions")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_supported")
    assert wrong.headers["allow"] == "OPTIONS, POST"
    assert lost.headers["x-request-id"] != wrong.headers["x-request-id"]


def test_health(fake_server: RunningServer) -> None:
    assert httpx.get(f"{fake_server.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{fake_server.url}/healthz").text == "Nitro is alive!!!"


def test_api_key(serve) -> None:
    server = serve(api_key="secret").ready()
    for key in ("", "wrong"):
        with pytest.raises(openai.AuthenticationError) as caught:
            chat(server.client(api_key=key or "x"))
        assert caught.value.code == "invalid_api_key"
    assert chat(server.client(api_key="secret"), max_tokens=1).choices[0].message.content == "?"
    assert httpx.get(f"{server.url}/v1/models").status_code == 401
    assert httpx.get(f"{server.url}/nothing").status_code == 401
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_alias_and_template(serve, tmp_path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{% if messages|length > 1 %}{{ raise_exception('one message only') }}{% endif %}Q")
    server = serve(alias="mine", chat_template=template).ready()
    reply = chat(server.client(), max_tokens=2)
    assert (reply.model, reply.choices[0].message.content) == ("mine", "RS")
    with pytest.raises(openai.BadRequestError) as caught:
        turns = [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]
        server.client().chat.completions.create(model="mine", messages=turns)
    assert "one message only" in caught.value.message and caught.value.param == "messages[1]"


def test_texts_of_one_content_are_joined_as_the_template_does(serve, tmp_path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% set content = messages[0].content %}"
        "{{ content if content is string else content | map(attribute='text') | join }}"
    )
    parts = [{"type": "text", "text": text} for text in "AB"]
    for server, length in ((serve(chat_template=template), 2), (serve(), len("<user>A\nB<assistant>"))):
        reply = chat(server.ready().client(), messages=[{"role": "user", "content": parts}], max_tokens=1)
        assert reply.usage.prompt_tokens == length


def test_a_cached_prefix_is_used_and_told(serve) -> None:
    """The second turn of a conversation finds the first one's tokens in its slot."""
    server = serve().ready()
    first = chat(server.client())
    again = [
        *HELLO,
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "More"},
    ]
    second = server.client().chat.completions.create(model="", messages=again)
    assert second.choices[0].message.content == WHOLE
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert second.usage.prompt_tokens_details.cached_tokens == first.usage.prompt_tokens + len(WHOLE)


def test_request_log(serve) -> None:
    server = serve().ready()
    chat(server.client(), max_tokens=3)
    line = server.log_line()
    for part in (
        "req_",
        "FakeRunner",
        "prompt=22",
        "cached=0",
        "completion=3",
        "queue=",
        "ttft=",
        "speed=",
        "finish=length",
    ):
        assert part in line
    with pytest.raises(openai.BadRequestError):
        chat(server.client(), top_p=2)
    assert "error 400" in server.log_line()


def test_logprobs(client: openai.OpenAI) -> None:
    """Of every token of the text, the same in a stream; the end of the answer is no part of the text."""
    whole = chat(client, logprobs=True, top_logprobs=2).choices[0]
    told = whole.logprobs.content
    assert "".join(entry.token for entry in told) == WHOLE
    assert [(entry.bytes, entry.logprob) for entry in told[:2]] == [([63], -0.63), ([64], -0.64)]
    assert [(top.token, top.logprob) for top in told[5].top_logprobs] == [("\0", 0.0), ("\1", -0.01)]
    streamed = []
    for chunk in chat(client, logprobs=True, top_logprobs=2, stream=True):
        content = chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else []
        assert "".join(entry.token for entry in content) == (chunk.choices[0].delta.content or "")
        streamed += content
    assert streamed == told
    assert chat(client, logprobs=False).choices[0].logprobs is None
    assert chat(client, logprobs=True, max_tokens=1).choices[0].logprobs.content[0].top_logprobs == []


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_end_where_the_text_is_cut(client: openai.OpenAI, stream: bool) -> None:
    reply = chat(client, logprobs=True, stop=["CDX", "EF"], stream=stream)
    chunks = [chunk.choices[0] for chunk in reply] if stream else reply.choices
    told = [entry.token for choice in chunks if choice.logprobs for entry in choice.logprobs.content]
    assert told == list("?@ABCD")


@pytest.mark.parametrize("options", [{"logprobs": True, "top_logprobs": 21}, {"top_logprobs": 3}])
def test_top_logprobs_that_make_no_sense(client: openai.OpenAI, options: dict) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **options)
    assert (caught.value.param, caught.value.code) == ("top_logprobs", "invalid_value")
