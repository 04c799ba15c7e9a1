"""The OpenAI SDK: what its README shows, and the helpers that it lists."""

import json
import os

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field
from steps import run, says, step

# what you change
client = OpenAI(
    base_url=os.environ["NITRO_URL"],
    api_key="none",
)
model = os.environ["NITRO_MODEL"]
# end of what you change

ALL = ("scripted", "llama", "mlx")
CAPITAL = [{"role": "user", "content": says("Paris.") + "The capital of France is"}]
CALL = '<tool_call>\n{"name": "Weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(max_length=20)
    unit: str = Field(pattern="[cf]")


class Person(BaseModel):
    name: str = Field(pattern="[A-Z][a-z]{1,10}")
    age: int = Field(ge=0, le=120)


WEATHER = openai.pydantic_function_tool(Weather)
PERSON = [{"role": "user", "content": says('{"name": "Anna", "age": 30}') + "Anna is 30 years old."}]
ASKED = [{"role": "user", "content": says(CALL) + "What is the weather in Oslo?"}]


@step("an answer", "scripted", "llama", "mlx")
def an_answer() -> None:
    reply = client.chat.completions.create(model=model, messages=CAPITAL, max_tokens=16, temperature=0)
    assert "Paris" in reply.choices[0].message.content, reply
    assert reply.model == model and reply.usage.total_tokens > reply.usage.prompt_tokens > 0


@step("a stream", "scripted", "llama", "mlx")
def a_stream() -> None:
    options = {"model": model, "messages": CAPITAL, "max_tokens": 16, "temperature": 0}
    stream = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options)
    chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in said and chunks[-1].usage.completion_tokens > 1 and len(chunks) > 3


@step("the asynchronous client, whole and streaming", "scripted", "llama")
async def asynchronous() -> None:
    options = {"model": model, "messages": CAPITAL, "max_tokens": 16, "temperature": 0}
    async with AsyncOpenAI(base_url=os.environ["NITRO_URL"], api_key="none") as patient:
        reply = await patient.chat.completions.create(**options)
        stream = await patient.chat.completions.create(stream=True, **options)
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert "Paris" in said and "Paris" in reply.choices[0].message.content


@step("`.parse()` with a pydantic model", "scripted", "llama", "mlx")
def parse() -> None:
    reply = client.chat.completions.parse(model=model, messages=PERSON, response_format=Person, max_tokens=100)
    assert isinstance(reply.choices[0].message.parsed, Person), reply


@step("`.stream()`, its events and its final completion", "scripted", "llama")
def stream_helper() -> None:
    with client.chat.completions.stream(model=model, messages=CAPITAL, max_tokens=100, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    assert deltas == final.choices[0].message.content and "Paris" in deltas
    assert [event.type for event in events][-1] == "content.done"


@step("`.stream()` with a pydantic model", "scripted", "llama")
def stream_parsed() -> None:
    with client.chat.completions.stream(model=model, messages=PERSON, response_format=Person, max_tokens=100) as stream:
        done = [event for event in stream if event.type == "content.done"]
        final = stream.get_final_completion()
    assert isinstance(done[0].parsed, Person) and final.choices[0].message.parsed == done[0].parsed


@step("a tool and its result (`pydantic_function_tool`)", "scripted")
def tool_round_trip() -> None:
    reply = client.chat.completions.create(model=model, messages=ASKED, tools=[WEATHER])
    (call,) = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls" and call.function.name == "Weather"
    assert json.loads(call.function.arguments) == {"city": "Oslo", "unit": "c"}
    result = {"role": "tool", "tool_call_id": call.id, "content": says("It is cold.")}
    messages = [*ASKED, reply.choices[0].message, result]
    reply = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert reply.choices[0].message.content == "It is cold."


@step("a tool that must be called, parsed", "scripted", "llama", "mlx")
def forced_tool() -> None:
    reply = client.chat.completions.parse(
        model=model, messages=ASKED, tools=[WEATHER], tool_choice="required", max_tokens=100
    )
    (call,) = reply.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather), reply


@step("a tool that must be called, in `.stream()`", "scripted", "llama")
def streamed_tool() -> None:
    with client.chat.completions.stream(
        model=model, messages=ASKED, tools=[WEATHER], tool_choice="required", max_tokens=100
    ) as stream:
        (done,) = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert done.name == "Weather" and done.parsed_arguments == call.function.parsed_arguments
    assert isinstance(done.parsed_arguments, Weather)


@step("text completions", "llama")
def text() -> None:
    reply = client.completions.create(model=model, prompt="The capital of France is", max_tokens=8, temperature=0)
    assert "Paris" in reply.choices[0].text


@step("`models.list()` and `models.retrieve()`", "scripted", "llama")
def models() -> None:
    assert [each.id for each in client.models.list()] == [model]
    assert client.models.retrieve(model).owned_by == "nitro"


@step("a clean 404 for `responses` and `embeddings`", "scripted")
def not_there() -> None:
    calls = {
        "/v1/responses": lambda: client.responses.create(model=model, input="Hello"),
        "/v1/embeddings": lambda: client.embeddings.create(model=model, input="Hello"),
    }
    for url, call in calls.items():
        try:
            call()
        except openai.NotFoundError as error:
            assert error.code == "unknown_url" and url in error.message and error.type == "invalid_request_error"
        else:
            raise AssertionError(url)


run()
