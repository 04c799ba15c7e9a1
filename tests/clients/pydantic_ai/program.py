"""pydantic-ai: agents with tools and structured output, whole and streaming."""

import os

from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, RunContext
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import run, says, step

# what you change
model = OpenAIChatModel(
    os.environ["NITRO_MODEL"],
    provider=OpenAIProvider(base_url=os.environ["NITRO_URL"], api_key="none"),
)
# end of what you change

SETTINGS = {"temperature": 0, "max_tokens": 200}
JSON = '{"name": "Anna", "age": 30}'
ANSWER = says('<tool_call>\n{"name": "final_result", "arguments": ' + JSON + "}\n</tool_call>")
CALL = says('<tool_call>\n{"name": "get_age", "arguments": {"name": "Anna"}}\n</tool_call>')


class Person(BaseModel):
    """A person."""

    name: str = Field(pattern="^[A-Z][a-z]{1,10}$")
    age: int = Field(ge=0, le=120)


def agent(**options) -> Agent:
    return Agent(model, model_settings=SETTINGS, **options)


@step("`run_sync`", "scripted", "llama", "mlx")
def text() -> None:
    done = agent(instructions="You answer in one word.").run_sync(says("Paris.") + "The capital of France is")
    assert "Paris" in done.output and done.usage.output_tokens > 1


@step("a tool: a call, its result, the answer", "scripted")
def tool() -> None:
    asked = []
    with_tool = agent()

    @with_tool.tool
    def get_age(context: RunContext, name: str) -> str:
        """The age of a person."""
        asked.append(name)
        return says("She is 30.")

    assert with_tool.run_sync(CALL + "How old is Anna?").output == "She is 30." and asked == ["Anna"]


@step("a tool that asks for another try", "scripted")
def retried() -> None:
    asked = []
    with_tool = agent()

    @with_tool.tool_plain
    def get_age(name: str) -> str:
        """The age of a person."""
        asked.append(name)
        if len(asked) == 1:
            raise ModelRetry("Not yet, once more.")
        return says("She is 30.")

    assert with_tool.run_sync(CALL).output == "She is 30." and asked == ["Anna"] * 2


@step("structured output by a tool", "scripted", "llama", "mlx")
def structured() -> None:
    assert isinstance(agent(output_type=Person).run_sync(ANSWER + "Anna is 30 years old.").output, Person)


@step("a tool, then structured output", "scripted")
def both() -> None:
    with_both = agent(output_type=Person)

    @with_both.tool_plain
    def get_age(name: str) -> str:
        """The age of a person."""
        return ANSWER

    assert with_both.run_sync(CALL).output == Person(name="Anna", age=30)


@step("`NativeOutput`: structured output by the schema", "scripted", "llama")
def native() -> None:
    done = agent(output_type=NativeOutput(Person)).run_sync(says(JSON) + "Anna is 30 years old.")
    assert isinstance(done.output, Person)


@step("`PromptedOutput`: structured output by JSON mode", "scripted")
def prompted() -> None:
    done = agent(output_type=PromptedOutput(Person)).run_sync(says(JSON) + "Anna is 30 years old.")
    assert done.output == Person(name="Anna", age=30)


@step("`run_stream`", "scripted", "llama")
async def stream() -> None:
    async with agent().run_stream(says("It is Paris.") + "The capital of France is") as streamed:
        deltas = [delta async for delta in streamed.stream_text(delta=True, debounce_by=None)]
    assert "Paris" in "".join(deltas) and len(deltas) > 2


@step("`run_stream` with structured output", "scripted", "llama")
async def stream_structured() -> None:
    async with agent(output_type=Person).run_stream(ANSWER + "Anna is 30 years old.") as streamed:
        seen = [each async for each in streamed.stream_output(debounce_by=None)]
    assert isinstance(seen[-1], Person)


@step("`run_stream` with a tool", "scripted")
async def stream_tool() -> None:
    with_tool = agent()

    @with_tool.tool_plain
    def get_age(name: str) -> str:
        """The age of a person."""
        return says("She is 30.")

    async with with_tool.run_stream(CALL) as streamed:
        assert await streamed.get_output() == "She is 30."


@step("`OpenAIResponsesModel`: a tool, then structured output", "scripted")
def responses() -> None:
    provider = OpenAIProvider(base_url=os.environ["NITRO_URL"], api_key="none")
    other = OpenAIResponsesModel(os.environ["NITRO_MODEL"], provider=provider)
    with_tool = Agent(other, output_type=Person, model_settings=SETTINGS)

    @with_tool.tool_plain
    def get_age(name: str) -> str:
        """The age of a person."""
        return ANSWER

    assert with_tool.run_sync(CALL + "How old is Anna?").output == Person(name="Anna", age=30)


run()
