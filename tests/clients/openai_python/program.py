"""The OpenAI SDK: what its README shows, and the helpers that it lists."""

import base64
import json
import os

import openai
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel, Field
from steps import picture, run, says, speech, step

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
    options = {"messages": CAPITAL, "max_tokens": 16, "logprobs": True, "top_logprobs": 1}
    for sampling in ({"temperature": 0}, {"temperature": 1, "top_p": 0.01}):  # both leave the likeliest token alone
        reply = client.chat.completions.create(model=model, **options, **sampling)
        (choice,) = reply.choices
        assert "Paris" in choice.message.content, reply
        likeliest = [each.token == each.top_logprobs[0].token for each in choice.logprobs.content]
        assert all(likeliest) or os.environ["NITRO_SERVER"] == "scripted", choice.logprobs
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


@step("pictures, by chat, whole and streaming, and by `responses`", "llama")
def pictures() -> None:
    asked = "Which colour is this?"
    for colour in ("red", "green"):
        url = "data:image/png;base64," + base64.b64encode(picture(colour).read_bytes()).decode()
        parts = [{"type": "text", "text": asked}, {"type": "image_url", "image_url": {"url": url, "detail": "high"}}]
        options = {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": 16, "temperature": 0}
        reply = client.chat.completions.create(**options)
        said = "".join(
            chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(stream=True, **options)
        )
        assert colour in reply.choices[0].message.content.lower() and colour in said.lower(), (reply, said)
        parts = [{"type": "input_text", "text": asked}, {"type": "input_image", "image_url": url, "detail": "auto"}]
        reply = client.responses.create(**RESPONSE | {"input": [{"role": "user", "content": parts}]})
        assert colour in reply.output_text.lower(), reply


@step("`audio.transcriptions` and `audio.translations`, whole, streaming and asynchronously", "hears")
async def transcripts() -> None:
    said = "It was a dark night."
    options = {"model": model, "prompt": says(said), "temperature": 0}
    with speech().open("rb") as file:
        reply = client.audio.transcriptions.create(file=file, language="en", include=["logprobs"], **options)
    assert reply.text == said == "".join(token.token for token in reply.logprobs), reply
    assert reply.usage.input_token_details.audio_tokens > 0, reply
    text = client.audio.transcriptions.create(file=speech(), response_format="text", **options)
    assert text.strip() == said
    *deltas, done = client.audio.transcriptions.create(file=speech(), stream=True, **options)
    assert "".join(event.delta for event in deltas) == done.text == said and len(deltas) > 1, done
    async with AsyncOpenAI(base_url=os.environ["NITRO_URL"], api_key="none") as patient:
        assert (await patient.audio.translations.create(file=speech(), **options)).text == said
    try:
        client.audio.transcriptions.create(file=speech(), response_format="srt", **options)
    except openai.BadRequestError as error:
        assert error.param == "response_format"
        return
    raise AssertionError


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


RESPONSE = {"model": model, "input": CAPITAL, "max_output_tokens": 16, "temperature": 0}
CITY = {"type": "function", "name": "Weather", "strict": True, "parameters": WEATHER["function"]["parameters"]}


@step("`responses.create()`, whole and streaming", "scripted", "llama", "mlx")
def responses() -> None:
    reply = client.responses.create(**RESPONSE)
    assert "Paris" in reply.output_text and reply.model == model and reply.usage.output_tokens > 0, reply
    events = list(client.responses.create(**RESPONSE, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text and "Paris" in said


@step("`responses.stream()`, its events and its final response", "scripted")
def responses_stream() -> None:
    with client.responses.stream(**RESPONSE) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text == "Paris."


@step("`responses.parse()` with a pydantic model", "scripted", "llama", "mlx")
def responses_parse() -> None:
    reply = client.responses.parse(model=model, input=PERSON, text_format=Person, max_output_tokens=100)
    assert isinstance(reply.output_parsed, Person), reply


@step("a tool and its result with `responses`, asynchronously", "scripted")
async def responses_tool() -> None:
    async with AsyncOpenAI(base_url=os.environ["NITRO_URL"], api_key="none") as patient:
        reply = await patient.responses.create(model=model, input=ASKED, tools=[CITY])
        (call,) = reply.output
        assert call.type == "function_call" and json.loads(call.arguments) == {"city": "Oslo", "unit": "c"}
        result = {"type": "function_call_output", "call_id": call.call_id, "output": says("It is cold.")}
        reply = await patient.responses.create(model=model, input=[*ASKED, call, result], tools=[CITY])
        assert reply.output_text == "It is cold."


@step("a custom tool with a Lark grammar, and one with a regular expression", "scripted", "llama")
def custom_tools() -> None:
    forms = {"lark": 'start: "a" ("\\n" "a"){2}', "regex": r"a(\na){2}"}
    for syntax, definition in forms.items():
        form = {"type": "grammar", "syntax": syntax, "definition": definition}
        tool = {"type": "custom", "name": "write", "description": "Writes a text.", "format": form}
        made = '<tool_call>\n{"name": "write", "arguments": {"input": "a\\na\\na"}}\n</tool_call>'
        reply = client.responses.create(
            model=model, input=says(made) + "Write.", tools=[tool], tool_choice="required", max_output_tokens=100
        )
        assert [each.input for each in reply.output if each.type == "custom_tool_call"] == ["a\na\na"], reply


@step("a response that is kept: retrieved, gone on from, its input, deleted", "scripted")
def kept() -> None:
    first = client.responses.create(**RESPONSE, metadata={"topic": "France"})
    assert client.responses.retrieve(first.id) == first and first.metadata == {"topic": "France"}
    second = client.responses.create(**RESPONSE | {"input": says("Rome.") + "Italy?"}, previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.input_tokens
    items = list(client.responses.input_items.list(second.id, order="asc", limit=2))  # page by page
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert items[1].content[0].text == first.output_text
    client.responses.delete(first.id)
    try:
        client.responses.retrieve(first.id)
    except openai.NotFoundError:
        return
    raise AssertionError


def ended(response: Response) -> Response:
    """It, polled until it has ended, as OpenAI's guide shows."""
    while response.status in ("queued", "in_progress"):
        response = client.responses.retrieve(response.id)
    return response


@step("`background=True`, polled", "scripted")
def background() -> None:
    begun = client.responses.create(**RESPONSE, background=True)
    assert begun.status == "queued" and begun.background and not begun.output, begun
    done = ended(begun)
    assert done.status == "completed" and "Paris" in done.output_text and done.usage.output_tokens > 1, done


@step("`background=True`, a stream that is left and resumed (`starting_after`)", "scripted")
def resumed() -> None:
    before = []
    with client.responses.create(**RESPONSE, background=True, stream=True) as stream:
        for event in stream:
            before.append(event)
            if event.type == "response.output_text.delta":
                break
    id, last = before[0].response.id, before[-1].sequence_number
    after = list(client.responses.retrieve(id, stream=True, starting_after=last))
    events = [*before, *after]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == after[-1].response.output_text and "Paris" in said
    with client.responses.stream(response_id=id, starting_after=last) as stream:
        assert [event.sequence_number for event in stream] == [event.sequence_number for event in after]
        assert stream.get_final_response().output_text == said


@step("`background=True`, cancelled", "scripted")
def cancelled() -> None:
    long = RESPONSE | {"input": says("It goes on. " * 2000), "max_output_tokens": 24_000}
    stream = client.responses.create(**long, background=True, stream=True)
    id = next(iter(stream)).response.id
    assert client.responses.cancel(id).status == "cancelled"
    assert list(stream)[-1].response.status == client.responses.retrieve(id).status == "cancelled"


@step("`conversations`, and responses in one", "scripted")
def conversations() -> None:
    hello = [{"type": "message", "role": "user", "content": "Hello."}]
    talk = client.conversations.create(metadata={"topic": "France"}, items=hello)
    first = client.responses.create(**RESPONSE, conversation=talk.id)
    assert first.conversation.id == talk.id and "Paris" in first.output_text
    second = ended(client.responses.create(**RESPONSE, conversation={"id": talk.id}, background=True))
    assert second.usage.input_tokens > first.usage.input_tokens
    items = list(client.conversations.items.list(talk.id, order="asc", limit=2))  # page by page
    assert [item.role for item in items] == ["user", "user", "assistant", "user", "assistant"]
    assert [items[2].content[0].text, items[4].content[0].text] == [first.output_text, second.output_text]
    assert client.conversations.items.retrieve(items[0].id, conversation_id=talk.id) == items[0]
    (added,) = client.conversations.items.create(talk.id, items=hello).data
    client.conversations.items.delete(items[0].id, conversation_id=talk.id)
    left = [item.id for item in client.conversations.items.list(talk.id)]
    assert left == [added.id, *[item.id for item in reversed(items[1:])]]
    changed = client.conversations.update(talk.id, metadata={"topic": "Italy"})
    assert client.conversations.retrieve(talk.id) == changed and changed.metadata == {"topic": "Italy"}
    assert client.conversations.delete(talk.id).deleted
    try:
        client.responses.create(**RESPONSE, conversation=talk.id)
    except openai.NotFoundError:
        return
    raise AssertionError


@step("embeddings, as base64 and as numbers", "llama")
def embeddings() -> None:
    texts = ["A man is eating food.", "The stock market fell."]
    packed = client.embeddings.create(model=model, input=texts)  # the SDK asks for base64
    plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
    for ours, theirs in zip(packed.data, plain.data, strict=True):
        assert sum(a * b for a, b in zip(ours.embedding, theirs.embedding, strict=True)) > 0.999
    assert packed.data[0].embedding != packed.data[1].embedding and packed.usage.total_tokens > 0


run()
