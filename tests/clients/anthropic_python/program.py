"""The Anthropic SDK: what its README and helpers.md show."""

import base64
import os

import anthropic
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from pydantic import BaseModel
from steps import picture, run, says, step

# what you change
client = Anthropic(
    base_url=os.environ["NITRO_ROOT"],
    api_key="none",
)
model = os.environ["NITRO_MODEL"]
# end of what you change

CAPITAL = [{"role": "user", "content": says("Paris.") + "The capital of France is"}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ASKED = [{"role": "user", "content": says(CALL) + "What is the weather in Oslo?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}
SHORT = {"model": model, "max_tokens": 16}
LONG = {"model": model, "max_tokens": 200}


class Person(BaseModel):
    name: str
    age: int


@step("an answer", "scripted", "llama", "mlx")
def an_answer() -> None:
    message = client.messages.create(**SHORT, messages=CAPITAL, extra_body={"temperature": 0})
    assert "Paris" in message.content[0].text and message.model == model
    assert message.usage.output_tokens > 0 and message.stop_reason in ("end_turn", "max_tokens")


@step("a stream", "scripted", "llama", "mlx")
def a_stream() -> None:
    kinds = [event.type for event in client.messages.create(**SHORT, messages=CAPITAL, stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "content_block_delta" in kinds


@step("`messages.stream()`, its text and its final message", "scripted", "llama", "mlx")
def a_helped_stream() -> None:
    with client.messages.stream(**SHORT, messages=CAPITAL, system="Answer briefly.") as stream:
        said = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert said == message.content[0].text and message.usage.output_tokens > 0


@step("a stream that is broken off", "scripted", "llama")
def a_broken_stream() -> None:
    with client.messages.stream(**LONG, messages=CAPITAL) as stream:
        assert next(stream.text_stream)
    assert client.messages.create(**SHORT, messages=CAPITAL).content


@step("`AsyncAnthropic`", "scripted", "llama")
async def an_async_client() -> None:
    async with AsyncAnthropic(base_url=os.environ["NITRO_ROOT"], api_key="none") as other:
        async with other.messages.stream(**SHORT, messages=CAPITAL) as stream:
            said = "".join([text async for text in stream.text_stream])
        assert said and (await other.messages.create(**SHORT, messages=CAPITAL)).content


@step("a picture", "llama")
def a_picture() -> None:
    for colour in ("red", "green"):
        data = base64.b64encode(picture(colour).read_bytes()).decode()
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        messages = [{"role": "user", "content": [{"type": "text", "text": "Which colour is this?"}, image]}]
        message = client.messages.create(**SHORT, messages=messages, extra_body={"temperature": 0})
        assert colour in message.content[0].text.lower(), message


@step("a tool and its result", "scripted")
def a_tool() -> None:
    message = client.messages.create(**LONG, messages=ASKED, tools=[WEATHER])
    (call,) = message.content
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": says("It rains.")}
    messages = [*ASKED, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**LONG, messages=messages, tools=[WEATHER]).content[0].text == "It rains."


@step("a tool that must be called", "scripted", "llama", "mlx")
def a_forced_tool() -> None:
    choice = {"type": "tool", "name": "weather"}
    message = client.messages.create(**LONG, messages=ASKED, tools=[WEATHER], tool_choice=choice)
    (call,) = message.content
    assert call.name == "weather" and isinstance(call.input["city"], str)


@step("`beta.messages.tool_runner()`", "scripted")
def a_tool_runner() -> None:
    asked = []

    @beta_tool
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: Its name.
        """
        asked.append(city)
        return says("It rains.")

    final = client.beta.messages.tool_runner(**LONG, messages=ASKED, tools=[weather]).until_done()
    assert final.content[0].text == "It rains." and asked == ["Oslo"]


@step("`messages.parse()` with a Pydantic model", "scripted", "llama", "mlx")
def a_parsed_answer() -> None:
    messages = [{"role": "user", "content": says('{"name": "Anna", "age": 30}') + "Anna is 30."}]
    person = client.messages.parse(**LONG, messages=messages, output_format=Person).parsed_output
    assert isinstance(person, Person)


@step("thinking, sent back with its signature", "scripted")
def thinking() -> None:
    messages = [{"role": "user", "content": says("I add.</think>Four.") + "2 + 2?"}]
    message = client.messages.create(**LONG, messages=messages, thinking={"type": "adaptive"})
    thought, text = message.content
    assert (thought.thinking, text.text) == ("I add.", "Four.") and thought.signature
    messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": says("</think>Yes.")}]
    assert client.messages.create(**LONG, messages=messages, thinking={"type": "adaptive"}).content[-1].text == "Yes."


@step("`messages.count_tokens()`", "scripted", "llama", "mlx")
def count_tokens() -> None:
    usage = client.messages.create(**SHORT, messages=CAPITAL).usage
    prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    assert client.messages.count_tokens(model=model, messages=CAPITAL).input_tokens == prompt


@step("stop sequences", "scripted")
def stop_sequences() -> None:
    message = client.messages.create(**SHORT, messages=CAPITAL, stop_sequences=["r"])
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == ("Pa", "stop_sequence", "r")


@step("`models.list()` and `models.retrieve()`", "scripted", "llama")
def models() -> None:
    assert [each.id for each in client.models.list()] == [model]
    assert client.models.retrieve(model).display_name == model


@step("errors of the SDK's own classes", "scripted")
def errors() -> None:
    try:
        client.messages.create(**SHORT, messages=CAPITAL, extra_body={"container": "c1"})
    except anthropic.BadRequestError as error:
        assert error.type == "invalid_request_error" and "container" in error.api_message and error.request_id
    else:
        raise AssertionError("it was taken")


run()
