"""The OpenAI Agents SDK with its default model, which speaks the Responses API: what its quick start shows."""

import asyncio
import os
from collections.abc import Callable

from agents import (
    Agent,
    AgentOutputSchema,
    ModelSettings,
    OpenAIConversationsSession,
    Runner,
    SQLiteSession,
    function_tool,
    handoff,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI, BadRequestError
from openai.types.shared import Reasoning
from pydantic import BaseModel
from steps import run, says, step

# what you change
client = AsyncOpenAI(base_url=os.environ["NITRO_URL"], api_key="none")
set_default_openai_client(client)
set_tracing_disabled(True)
model = os.environ["NITRO_MODEL"]
# end of what you change

LOOP = asyncio.new_event_loop()  # the client keeps connections, which belong to one
CAPITAL = says("Paris.") + "The capital of France is"
ASKED: list[str] = []


def together(function: Callable) -> Callable:
    return lambda: LOOP.run_until_complete(function())


class Person(BaseModel):
    name: str
    age: int


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@function_tool
def weather(city: str, days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: Its name.
        days: How many.
    """
    ASKED.append(city)
    return says("It is cold.")


def agent(**options) -> Agent:
    settings = ModelSettings(temperature=0, **options.pop("settings", {}))
    return Agent(name="Assistant", instructions="Be brief.", model=model, model_settings=settings, **options)


@step("`Runner.run`", "scripted", "llama", "mlx")
@together
async def an_answer() -> None:
    result = await Runner.run(agent(settings={"max_tokens": 300}), CAPITAL)
    assert "Paris" in result.final_output, result
    assert result.raw_responses[0].usage.output_tokens > 0 and result.raw_responses[0].response_id.startswith("resp_")


@step("`Runner.run_streamed`", "scripted", "llama")
@together
async def a_stream() -> None:
    result = Runner.run_streamed(agent(settings={"max_tokens": 300}), CAPITAL)
    said = ""
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            said += event.data.delta
    assert said == result.final_output and "Paris" in said


@step("a `function_tool`, whole and streaming", "scripted")
@together
async def tools() -> None:
    ASKED.clear()
    asked = says(call("weather", '{"city": "Oslo", "days": 2}')) + "What is the weather in Oslo?"
    assert (await Runner.run(agent(tools=[weather]), asked)).final_output == "It is cold."
    streamed = Runner.run_streamed(agent(tools=[weather]), asked)
    kinds = [event.name async for event in streamed.stream_events() if event.type == "run_item_stream_event"]
    assert streamed.final_output == "It is cold." and ASKED == ["Oslo", "Oslo"]
    assert kinds == ["tool_called", "tool_output", "message_output_created"], kinds


@step("a tool that must be called", "scripted", "llama")
@together
async def forced() -> None:
    ASKED.clear()
    settings = {"tool_choice": "weather", "max_tokens": 120}
    asked = says(call("weather", '{"city": "Oslo", "days": 2}')) + "What is the weather in Oslo?"
    chosen = agent(tools=[weather], settings=settings, tool_use_behavior="stop_on_first_tool")
    await Runner.run(chosen, asked)
    assert len(ASKED) == 1


@step("`output_type`", "scripted", "llama", "mlx")
@together
async def output_type() -> None:
    asked = says('{"name": "Anna", "age": 30}') + "Anna is 30 years old."
    result = await Runner.run(agent(output_type=AgentOutputSchema(Person), settings={"max_tokens": 60}), asked)
    assert isinstance(result.final_output, Person), result


@step("a handoff", "scripted")
@together
async def hands_off() -> None:
    other = Agent(name="Other", instructions="Be kind.", model=model)
    first = Agent(name="First", model=model, handoffs=[handoff(other, tool_name_override="transfer")])
    result = Runner.run_streamed(first, says(call("transfer", "{}")) + "Who are you?")
    async for event in result.stream_events():
        if event.type == "agent_updated_stream_event" and event.new_agent is other:
            return
    raise AssertionError(result)


@step("a session, and a conversation that goes on from its items", "scripted")
@together
async def sessions() -> None:
    session = SQLiteSession("one")
    await Runner.run(agent(), says("Hello.") + "Hello", session=session)
    result = await Runner.run(agent(), says("Fine.") + "How are you?", session=session)
    assert result.final_output == "Fine." and len(await session.get_items()) == 4
    again = [*result.to_input_list(), {"role": "user", "content": says("Bye.")}]
    assert (await Runner.run(agent(), again)).final_output == "Bye."


@step("`OpenAIConversationsSession`, a conversation that the server keeps", "scripted")
@together
async def kept_session() -> None:
    session = OpenAIConversationsSession()
    made = says(call("weather", '{"city": "Oslo", "days": 2}')) + "What is the weather in Oslo?"
    await Runner.run(agent(tools=[weather]), made, session=session)
    result = await Runner.run(agent(tools=[weather]), says("Fine.") + "How are you?", session=session)
    kinds = [item["type"] for item in await session.get_items()]
    assert kinds == ["message", "function_call", "function_call_output", "message", "message", "message"]
    assert result.final_output == "Fine." and (await session.pop_item())["role"] == "assistant"
    assert len(await session.get_items()) == len(await session.get_items(limit=5)) == 5
    again = OpenAIConversationsSession(conversation_id=session.session_id)
    assert (await Runner.run(agent(), says("Bye."), session=again)).final_output == "Bye."
    await again.clear_session()


@step("`conversation_id` and `previous_response_id`: the server has the history", "scripted")
@together
async def history_of_the_server() -> None:
    asked = says(call("weather", '{"city": "Oslo", "days": 2}')) + "What is the weather in Oslo?"
    first = await Runner.run(agent(tools=[weather]), asked, auto_previous_response_id=True)
    used = await Runner.run(agent(tools=[weather]), says("Fine."), previous_response_id=first.last_response_id)
    assert (first.final_output, used.final_output) == ("It is cold.", "Fine.")
    assert used.raw_responses[0].usage.input_tokens > first.raw_responses[0].usage.input_tokens
    talk = await client.conversations.create()
    await Runner.run(agent(tools=[weather]), asked, conversation_id=talk.id)
    result = await Runner.run(agent(), says("Bye."), conversation_id=talk.id)
    items = [item.type async for item in client.conversations.items.list(talk.id)]
    assert result.final_output == "Bye." and len(items) == 6, items


@step("reasoning, and again in the history", "scripted")
@together
async def reasoning() -> None:
    settings = {"reasoning": Reasoning(effort="low", summary="auto")}
    made = call("weather", '{"city": "Oslo", "days": 2}')
    asked = says(f"I look.</think>{made}") + "What is the weather in Oslo?"

    @function_tool(name_override="weather")
    def thoughtful(city: str, days: int) -> str:
        return says("Aha.</think>It is cold.")

    result = await Runner.run(agent(tools=[thoughtful], settings=settings), asked)
    thoughts = [item.raw_item.summary[0].text for item in result.new_items if item.type == "reasoning_item"]
    assert (thoughts, result.final_output) == (["I look.", "Aha."], "It is cold.")


@step("a refusal, in the server's words", "scripted")
@together
async def refusal() -> None:
    try:
        await Runner.run(Agent(name="Hot", model=model, model_settings=ModelSettings(temperature=-1)), CAPITAL)
    except BadRequestError as error:
        assert error.param == "temperature", error
    else:
        raise AssertionError


run()
