"""Ollama's package: what its README shows."""

import os

from ollama import AsyncClient, Client, ResponseError
from pydantic import BaseModel, Field
from steps import picture, run, says, step

# what you change
client = Client(host=os.environ["NITRO_ROOT"])
# end of what you change

model = os.environ["NITRO_MODEL"]
CAPITAL = [{"role": "user", "content": says("Paris.") + "The capital of France is"}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
ASKED = [{"role": "user", "content": says(CALL) + "What is the weather in Oslo?"}]
PERSON = [{"role": "user", "content": says('{"name": "Anna", "age": 30}') + "Anna is 30 years old."}]
THOUGHTFUL = [{"role": "user", "content": says("I add.</think>Four.") + "2 + 2?"}]
SHORT = {"temperature": 0, "num_predict": 16}
LONG = {"temperature": 0, "num_predict": 100}


class Person(BaseModel):
    """A person."""

    name: str = Field(pattern="^[A-Z][a-z]{1,10}$")
    age: int = Field(ge=0, le=120)


def get_weather(city: str, days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: Its name.
        days: How many.
    """
    return says(f"It is cold in {city}.")


@step("`chat`", "scripted", "llama", "mlx")
def chat() -> None:
    reply = client.chat(model=model, messages=CAPITAL, options=SHORT)
    assert "Paris" in reply.message.content and reply.done and reply["message"]["role"] == "assistant"
    assert reply.prompt_eval_count > 0 and reply.eval_count > 1 and reply.total_duration > 0


@step("`chat`, streaming", "scripted", "llama", "mlx")
def stream() -> None:
    parts = list(client.chat(model=model, messages=CAPITAL, options=SHORT, stream=True))
    assert "Paris" in "".join(part.message.content for part in parts) and len(parts) > 3
    assert parts[-1].done_reason in ("stop", "length") and not any(part.done for part in parts[:-1])


@step("`AsyncClient`", "scripted", "llama")
async def asynchronous() -> None:
    async with AsyncClient(host=os.environ["NITRO_ROOT"]) as other:
        said = "".join(
            [part.message.content async for part in await other.chat(model, CAPITAL, options=SHORT, stream=True)]
        )
        assert "Paris" in said and "Paris" in (await other.chat(model, CAPITAL, options=SHORT)).message.content


@step("a stream that is broken off", "scripted", "llama")
def broken_off() -> None:
    next(client.chat(model=model, messages=CAPITAL, options=LONG, stream=True))
    assert "Paris" in client.chat(model=model, messages=CAPITAL, options=SHORT).message.content


@step("`images`, by their paths and as bytes", "llama")
def images() -> None:
    for colour in ("red", "green"):
        message = {"role": "user", "content": "Which colour is this?", "images": [picture(colour)]}
        assert colour in client.chat(model=model, messages=[message], options=SHORT).message.content.lower()
        data = picture(colour).read_bytes()
        reply = client.generate(model=model, prompt="Which colour is this?", images=[data], options=SHORT)
        assert colour in reply.response.lower()


@step("`tools` as functions: a call, its result, the answer", "scripted")
def tools() -> None:
    reply = client.chat(model=model, messages=ASKED, tools=[get_weather], options=LONG)
    (call,) = reply.message.tool_calls
    assert (call.function.name, dict(call.function.arguments)) == ("get_weather", {"city": "Oslo", "days": 2})
    result = {"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)}
    again = client.chat(model=model, messages=[*ASKED, reply.message, result], tools=[get_weather], options=LONG)
    assert again.message.content == "It is cold in Oslo."


@step("`tools`, streaming", "scripted")
def streamed_tools() -> None:
    parts = list(client.chat(model=model, messages=ASKED, tools=[get_weather], options=LONG, stream=True))
    calls = [call for part in parts for call in part.message.tool_calls or []]
    assert [dict(call.function.arguments) for call in calls] == [{"city": "Oslo", "days": 2}]


@step("`format` as a schema", "scripted", "llama", "mlx")
def schema() -> None:
    reply = client.chat(model=model, messages=PERSON, format=Person.model_json_schema(), options=LONG)
    Person.model_validate_json(reply.message.content)


@step("`format` as `json`", "scripted", "llama")
def json_object() -> None:
    reply = client.chat(model=model, messages=PERSON, format="json", options=LONG)
    assert reply.message.content.startswith("{") and (reply.done_reason == "length" or "}" in reply.message.content)


@step("`think`", "scripted")
def thinking() -> None:
    reply = client.chat(model=model, messages=THOUGHTFUL, think=True, options=LONG)
    assert (reply.message.thinking, reply.message.content) == ("I add.", "Four.")
    parts = list(client.chat(model=model, messages=THOUGHTFUL, think="high", options=LONG, stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == "I add."
    assert "".join(part.message.content for part in parts) == "Four."


@step("`generate`, with `system`, `raw`, and streaming", "scripted", "llama")
def generate() -> None:
    prompt = CAPITAL[0]["content"]
    reply = client.generate(model=model, prompt=prompt, system="Answer in one word.", options=SHORT)
    assert reply.response and reply.done
    parts = list(client.generate(model=model, prompt=prompt, raw=True, options=SHORT, stream=True))
    assert "Paris" in "".join(part.response for part in parts)


@step("`logprobs`", "llama")
def logprobs() -> None:
    reply = client.chat(model=model, messages=CAPITAL, options=SHORT, logprobs=True, top_logprobs=2)
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in reply.logprobs)


@step("`embed` and `embeddings`", "scripted", "llama")
def embed() -> None:
    one, other = client.embed(model=model, input=["Paris", "London"]).embeddings
    assert len(one) == len(other) and abs(sum(number**2 for number in one) - 1) < 1e-3
    old = client.embeddings(model=model, prompt="Paris").embedding
    assert max(abs(a - b) for a, b in zip(old, one, strict=True)) < 1e-4


@step("`list`, `show` and `ps`", "scripted", "llama", "mlx")
def models() -> None:
    (listed,) = client.list().models
    assert listed.model == f"{model}:latest" and len(listed.digest) == 64
    shown = client.show(listed.model)
    assert {"completion", "tools"} <= {*shown.capabilities} and shown.template
    (loaded,) = client.ps().models
    assert loaded.model == listed.model and loaded.context_length > 0 and loaded.expires_at


@step("a model that is loaded beforehand", "scripted", "llama")
def load() -> None:
    assert client.generate(model=model, keep_alive=-1).done_reason == "load"
    assert client.chat(model=model).done_reason == "load"


@step("`ResponseError`: its status, and what is wrong", "scripted")
def errors() -> None:
    wrong = (
        (404, "does not exist", lambda: client.chat(model="nobody", messages=CAPITAL)),
        (400, "options.num_ctx", lambda: client.chat(model=model, messages=CAPITAL, options={"num_ctx": 10**6})),
        (400, "images", lambda: client.generate(model=model, prompt="a", images=[b"a"])),
        (403, "start it without MODEL", lambda: client.pull("org/name")),
        (501, "/api/create", lambda: client.create(model="a", from_="b")),
    )
    for status, words, asked in wrong:
        try:
            asked()
        except ResponseError as error:
            assert error.status_code == status and words in error.error, error
        else:
            raise AssertionError(words)


run()
