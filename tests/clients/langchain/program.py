"""LangChain's `ChatOpenAI`: what its integration page shows."""

import base64
import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field
from steps import picture, run, says, step

# what you change
llm = ChatOpenAI(
    base_url=os.environ["NITRO_URL"],
    api_key="none",
    model=os.environ["NITRO_MODEL"],
    # end of what you change
    temperature=0,
    max_tokens=100,
)

CAPITAL = [("system", "You answer in one word."), ("human", says("Paris.") + "The capital of France is")]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ASKED = says(CALL) + "What is the weather in Oslo?"
JSON = '{"name": "Anna", "age": 30}'


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return says(f"It is cold in {city}.")


class Person(BaseModel):
    """A person."""

    name: str = Field(pattern="^[A-Z][a-z]{1,10}$")
    age: int = Field(ge=0, le=120)


@step("`OpenAIEmbeddings`, of texts instead of tiktoken's ids", "llama")
def embeddings() -> None:
    embedder = OpenAIEmbeddings(
        base_url=os.environ["NITRO_URL"],
        api_key="none",
        model=os.environ["NITRO_MODEL"],
        check_embedding_ctx_length=False,
    )
    one = embedder.embed_query("A man is eating food.")
    same, other = embedder.embed_documents(["A man is eating food.", "The stock market fell."])
    assert sum(a * b for a, b in zip(one, same, strict=True)) > 0.999
    assert sum(a * b for a, b in zip(one, other, strict=True)) < 0.999


@step("`invoke`", "scripted", "llama", "mlx")
def invoke() -> None:
    reply = llm.invoke(CAPITAL)
    assert "Paris" in reply.content and reply.response_metadata["finish_reason"] == "stop", reply
    assert reply.usage_metadata["output_tokens"] > 1


@step("`stream`", "scripted", "llama")
def stream() -> None:
    chunks = list(llm.stream(CAPITAL, stream_usage=True))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert "Paris" in whole.content and len(chunks) > 2
    assert whole.usage_metadata["output_tokens"] > 1


@step("`ainvoke` and `astream`", "scripted", "llama")
async def asynchronous() -> None:
    said = "".join([chunk.content async for chunk in llm.astream(CAPITAL)])
    assert "Paris" in said and "Paris" in (await llm.ainvoke(CAPITAL)).content


@step("`batch`", "scripted", "llama")
def batch() -> None:
    first, second = llm.batch([CAPITAL, CAPITAL])
    assert "Paris" in first.content and "Paris" in second.content


@step("pictures, as `image_url` and as `image` with `base64`, also with `use_responses_api=True`", "llama")
def pictures() -> None:
    other = ChatOpenAI(
        base_url=os.environ["NITRO_URL"], api_key="none", model=os.environ["NITRO_MODEL"], use_responses_api=True
    )
    for colour in ("red", "green"):
        data = base64.b64encode(picture(colour).read_bytes()).decode()
        forms = (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            {"type": "image", "base64": data, "mime_type": "image/png"},
            {
                "type": "image",
                "source_type": "base64",
                "data": data,
                "mime_type": "image/png",
            },  # as it was in LangChain 0.3
        )
        for form in forms:
            message = HumanMessage([{"type": "text", "text": "Which colour is this?"}, form])
            for each in (llm, other.bind(temperature=0, max_output_tokens=16)):
                assert colour in each.invoke([message]).text.lower()


@step("`bind_tools`: a call, its result, the answer", "scripted")
def tools() -> None:
    bound = llm.bind_tools([get_weather])
    messages = [HumanMessage(ASKED)]
    reply = bound.invoke(messages)
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert bound.invoke([*messages, reply, result]).content == "It is cold in Oslo."


@step("`bind_tools`, streaming", "scripted")
def streamed_tools() -> None:
    chunks = list(llm.bind_tools([get_weather]).stream(says("I look. " + CALL)))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content.strip() == "I look."
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("get_weather", {"city": "Oslo"})]


@step("`bind_tools(tool_choice=…)`: a call that must be made", "scripted", "llama", "mlx")
def forced() -> None:
    (call,) = llm.bind_tools([get_weather], tool_choice="get_weather").invoke(ASKED).tool_calls
    assert call["name"] == "get_weather" and isinstance(call["args"]["city"], str)


@step("`with_structured_output` by `json_schema`", "scripted", "llama", "mlx")
def json_schema() -> None:
    person = llm.with_structured_output(Person, method="json_schema").invoke(says(JSON) + "Anna is 30 years old.")
    assert isinstance(person, Person)


@step("`with_structured_output` by `function_calling`", "scripted", "llama")
def function_calling() -> None:
    made = llm.with_structured_output(Person, method="function_calling", include_raw=True)
    script = says(f'<tool_call>\n{{"name": "Person", "arguments": {JSON}}}\n</tool_call>')
    answer = made.invoke(script + "Anna is 30 years old.")
    assert isinstance(answer["parsed"], Person), answer


@step("`with_structured_output` by `json_mode`", "scripted")
def json_mode() -> None:
    made = llm.with_structured_output(Person, method="json_mode")
    assert made.invoke(says(JSON) + "Anna is 30. As JSON.") == Person(name="Anna", age=30)


@step("JSON that is an object, by `json_mode`", "llama")
def json_object() -> None:
    made = llm.with_structured_output(None, method="json_mode", include_raw=True)
    answer = made.invoke('Say {"name": "Anna"} as JSON.')
    assert isinstance(answer["parsed"], dict) or answer["raw"].response_metadata["finish_reason"] == "length", answer


@step("`logprobs`", "llama")
def logprobs() -> None:
    content = llm.bind(logprobs=True, top_logprobs=2).invoke(CAPITAL).response_metadata["logprobs"]["content"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in content)


@step("`use_responses_api=True`: an answer, a stream, a tool and its result", "scripted")
def responses() -> None:
    other = ChatOpenAI(
        base_url=os.environ["NITRO_URL"], api_key="none", model=os.environ["NITRO_MODEL"], use_responses_api=True
    )
    assert other.invoke(CAPITAL).text == "Paris."
    assert "".join(chunk.text for chunk in other.stream(CAPITAL)) == "Paris."
    bound = other.bind_tools([get_weather])
    messages = [HumanMessage(ASKED)]
    reply = bound.invoke(messages)
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    messages += [reply, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert bound.invoke(messages).text == "It is cold in Oslo."


run()
