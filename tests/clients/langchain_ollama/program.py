"""LangChain's `ChatOllama` and `OllamaEmbeddings`: what their integration pages show."""

import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel, Field
from steps import run, says, step

# what you change
llm = ChatOllama(
    base_url=os.environ["NITRO_ROOT"],
    model=os.environ["NITRO_MODEL"],
    # end of what you change
    validate_model_on_init=True,
    temperature=0,
    num_predict=100,
    num_ctx=2048,
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


@step("`invoke`", "scripted", "llama", "mlx")
def invoke() -> None:
    reply = llm.invoke(CAPITAL)
    assert "Paris" in reply.content and reply.response_metadata["done_reason"] == "stop", reply
    assert reply.usage_metadata["output_tokens"] > 1 and reply.usage_metadata["input_tokens"] > 1


@step("`stream`", "scripted", "llama")
def stream() -> None:
    chunks = list(llm.stream(CAPITAL))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert "Paris" in whole.content and len(chunks) > 2 and whole.usage_metadata["output_tokens"] > 1


@step("`ainvoke` and `astream`", "scripted", "llama")
async def asynchronous() -> None:
    said = "".join([chunk.content async for chunk in llm.astream(CAPITAL)])
    assert "Paris" in said and "Paris" in (await llm.ainvoke(CAPITAL)).content


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


@step("`with_structured_output` by `json_schema`", "scripted", "llama", "mlx")
def json_schema() -> None:
    person = llm.with_structured_output(Person, method="json_schema").invoke(says(JSON) + "Anna is 30 years old.")
    assert isinstance(person, Person)


@step("`with_structured_output` by `function_calling`", "scripted")
def function_calling() -> None:
    made = llm.with_structured_output(Person, method="function_calling", include_raw=True)
    script = says(f'<tool_call>\n{{"name": "Person", "arguments": {JSON}}}\n</tool_call>')
    answer = made.invoke(script + "Anna is 30 years old.")
    assert isinstance(answer["parsed"], Person), answer


@step("`with_structured_output` by `json_mode`", "scripted")
def json_mode() -> None:
    made = llm.with_structured_output(Person, method="json_mode")
    assert made.invoke(says(JSON) + "Anna is 30. As JSON.") == Person(name="Anna", age=30)


@step("`reasoning=True`", "scripted")
def reasoning() -> None:
    reply = llm.invoke(says("I add.</think>Four.") + "2 + 2?", reasoning=True)
    assert (reply.additional_kwargs["reasoning_content"], reply.content) == ("I add.", "Four.")


@step("`OllamaLLM`", "llama")
def text() -> None:
    model = OllamaLLM(base_url=os.environ["NITRO_ROOT"], model=os.environ["NITRO_MODEL"], temperature=0, num_predict=16)
    assert "Paris" in model.invoke("The capital of France is")


@step("`OllamaEmbeddings`", "scripted", "llama")
def embeddings() -> None:
    made = OllamaEmbeddings(base_url=os.environ["NITRO_ROOT"], model=os.environ["NITRO_MODEL"])
    one, other = made.embed_documents(["Paris", "London"])
    assert len(one) == len(other) == len(made.embed_query("Paris"))


run()
