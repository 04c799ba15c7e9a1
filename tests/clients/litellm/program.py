"""LiteLLM: what its page on servers that speak OpenAI's API shows."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a list of prices

import litellm
from litellm import acompletion, completion
from pydantic import BaseModel, Field
from steps import run, says, step

server = {
    # what you change
    "model": f"openai/{os.environ['NITRO_MODEL']}",
    "api_base": os.environ["NITRO_URL"],
    "api_key": "none",
    # end of what you change
    "max_tokens": 100,
    "temperature": 0,
}

CAPITAL = [{"role": "user", "content": says("Paris.") + "The capital of France is"}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ASKED = [{"role": "user", "content": says(CALL) + "What is the weather in Oslo?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 20}},
                "required": ["city"],
            },
        },
    }
]


class Person(BaseModel):
    name: str = Field(pattern="^[A-Z][a-z]{1,10}$")
    age: int = Field(ge=0, le=120)


@step("`completion`", "scripted", "llama", "mlx")
def whole() -> None:
    reply = completion(messages=CAPITAL, **server)
    assert "Paris" in reply.choices[0].message.content and reply.usage.completion_tokens > 1


@step("`completion(stream=True)`", "scripted", "llama")
def stream() -> None:
    chunks = list(completion(messages=CAPITAL, stream=True, stream_options={"include_usage": True}, **server))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "Paris" in said and len(chunks) > 2
    assert litellm.stream_chunk_builder(chunks).choices[0].message.content == said
    assert chunks[-1].usage.completion_tokens > 1


@step("`acompletion`, whole and streaming", "scripted", "llama")
async def asynchronous() -> None:
    reply = await acompletion(messages=CAPITAL, **server)
    stream = await acompletion(messages=CAPITAL, stream=True, **server)
    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "Paris" in said and "Paris" in reply.choices[0].message.content


@step("a tool and its result", "scripted")
def tool_round_trip() -> None:
    message = completion(messages=ASKED, tools=TOOLS, **server).choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Oslo"})
    result = {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": says("It is cold.")}
    reply = completion(messages=[*ASKED, message, result], tools=TOOLS, **server)
    assert reply.choices[0].message.content == "It is cold."


@step("a tool in a stream", "scripted")
def streamed_tool() -> None:
    chunks = list(completion(messages=ASKED, tools=TOOLS, stream=True, **server))
    built = litellm.stream_chunk_builder(chunks).choices[0]
    (call,) = built.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Oslo"})
    assert built.finish_reason == "tool_calls"


@step("a tool that must be called", "scripted", "llama", "mlx")
def forced_tool() -> None:
    reply = completion(messages=ASKED, tools=TOOLS, tool_choice="required", **server)
    (call,) = reply.choices[0].message.tool_calls
    assert len(json.loads(call.function.arguments)["city"]) <= 20


@step("`response_format` with a pydantic model", "scripted", "llama")
def structured() -> None:
    messages = [{"role": "user", "content": says('{"name": "Anna", "age": 30}') + "Anna is 30 years old."}]
    reply = completion(messages=messages, response_format=Person, **server)
    Person.model_validate_json(reply.choices[0].message.content)


@step("an error keeps its class and its words", "scripted")
def errors() -> None:
    try:
        completion(messages=CAPITAL, **{**server, "top_p": 9})
    except litellm.BadRequestError as error:
        assert "top_p" in str(error)
    else:
        raise AssertionError("no error")


run()
