"""LangChain's ChatAnthropic: what its page shows, and an agent."""

import os

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from pydantic import BaseModel
from steps import run, says, step

# what you change
model = ChatAnthropic(
    model=os.environ["NITRO_MODEL"],
    base_url=os.environ["NITRO_ROOT"],
    api_key="none",
    max_tokens=200,
)
# end of what you change

CAPITAL = says("Paris.") + "The capital of France is"
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ASKED = says(CALL) + "What is the weather in Oslo?"


@tool
def weather(city: str) -> str:
    """Tells the weather."""
    return says("It rains.") + city


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@step("an answer", "scripted", "llama")
def an_answer() -> None:
    reply = model.invoke([("system", "Be brief."), ("user", CAPITAL)])
    assert reply.text and reply.usage_metadata["output_tokens"] > 0


@step("a stream, and its usage", "scripted", "llama")
def a_stream() -> None:
    chunks = list(model.stream(CAPITAL))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.text and whole.usage_metadata["output_tokens"] > 0
    assert whole.usage_metadata["input_tokens"] == model.invoke(CAPITAL).usage_metadata["input_tokens"]


@step("`ainvoke()`", "scripted")
async def an_async_answer() -> None:
    assert (await model.ainvoke(CAPITAL)).text == "Paris."


@step("`bind_tools()`", "scripted")
def a_tool() -> None:
    (call,) = model.bind_tools([weather]).invoke(ASKED).tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})


@step("`bind_tools()` with a tool that must be called", "scripted", "llama")
def a_forced_tool() -> None:
    (call,) = model.bind_tools([weather], tool_choice="weather").invoke(ASKED).tool_calls
    assert isinstance(call["args"]["city"], str)


@step("`with_structured_output()`", "scripted")
def structured() -> None:
    script = '<tool_call>\n{"name": "Person", "arguments": {"name": "Anna", "age": 30}}\n</tool_call>'
    person = model.with_structured_output(Person).invoke(says(script) + "Anna is 30.")
    assert person == Person(name="Anna", age=30)


@step("an agent, `create_agent()`", "scripted")
def an_agent() -> None:
    messages = create_agent(model, [weather]).invoke({"messages": [("user", ASKED)]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert messages[-1].text == "It rains."


@step("thinking", "scripted")
def thinking() -> None:
    reply = model.bind(thinking={"type": "adaptive"}).invoke(says("I add.</think>Four.") + "2 + 2?")
    assert reply.text == "Four." and reply.content_blocks[0]["reasoning"] == "I add."


run()
