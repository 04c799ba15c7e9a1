"""instructor: objects out of text, by tools and by JSON, and another try where an object is not valid."""

import os

import instructor
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field, field_validator
from steps import run, says, step

# what you change
base = OpenAI(base_url=os.environ["NITRO_URL"], api_key="none")
client = instructor.from_openai(base, mode=instructor.Mode.TOOLS)
model = os.environ["NITRO_MODEL"]
# end of what you change

JSON, LOUD = '{"name": "Anna", "age": 30}', '{"name": "ANNA", "age": 30}'


def call(name: str, arguments: str = JSON) -> str:
    return says(f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>')


class Person(BaseModel):
    """A person."""

    name: str = Field(pattern="^[A-Z][a-z]{1,10}$")
    age: int = Field(ge=0, le=120)


def shouted(again: str) -> type[BaseModel]:
    """A person whose name is in capitals, which no schema says: so validation fails, and `again` is said."""

    class Shouted(BaseModel):
        name: str
        age: int

        @field_validator("name")
        @classmethod
        def in_capitals(cls, name: str) -> str:
            if not name.isupper():
                raise ValueError("in capitals, please: " + again)
            return name

    return Shouted


def asks(text: str) -> dict:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 200, "temperature": 0}


def by(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(base, mode=mode)


@step("`Mode.TOOLS`", "scripted", "llama", "mlx")
def tools() -> None:
    assert isinstance(client.create(response_model=Person, **asks(call("Person") + "Anna is 30 years old.")), Person)


@step("`Mode.JSON`", "scripted")
def json_mode() -> None:
    person = by(instructor.Mode.JSON).create(response_model=Person, **asks(says(JSON) + "Anna is 30 years old."))
    assert (person.name, person.age) == ("Anna", 30)


@step("`Mode.JSON_SCHEMA`", "scripted", "llama")
def json_schema() -> None:
    person = by(instructor.Mode.JSON_SCHEMA).create(response_model=Person, **asks(says(JSON) + "Anna is 30 years old."))
    assert isinstance(person, Person)


@step("`Mode.MD_JSON`", "scripted")
def md_json() -> None:
    script = says(f"```json\n{JSON}\n```")
    person = by(instructor.Mode.MD_JSON).create(response_model=Person, **asks(script))
    assert (person.name, person.age) == ("Anna", 30)


@step("another try where validation fails, by JSON", "scripted")
def retries() -> None:
    model = shouted(says(LOUD))
    person = by(instructor.Mode.JSON).create(response_model=model, max_retries=2, **asks(says(JSON)))
    assert person.name == "ANNA"


@step("another try where validation fails, by tools", "scripted")
def retries_by_tools() -> None:
    model = shouted(call("Shouted", LOUD))
    person = client.create(response_model=model, max_retries=2, **asks(call("Shouted")))
    assert person.name == "ANNA"


@step("`create_partial`: an object that fills up", "scripted", "llama")
def partial() -> None:
    seen = list(client.create_partial(response_model=Person, **asks(call("PartialPerson") + "Anna is 30 years old.")))
    assert Person.model_validate(seen[-1].model_dump()) and len(seen) > 1


@step("`create_iterable`: several objects", "scripted")
def iterable() -> None:
    script = says(f'{{"tasks": [{JSON}, {JSON}]}}')
    found = list(by(instructor.Mode.JSON).create_iterable(response_model=Person, **asks(script)))
    assert found == [Person(name="Anna", age=30)] * 2


@step("the asynchronous client", "scripted", "llama")
async def asynchronous() -> None:
    patient = instructor.from_openai(AsyncOpenAI(base_url=os.environ["NITRO_URL"], api_key="none"))
    assert isinstance(
        await patient.create(response_model=Person, **asks(call("Person") + "Anna is 30 years old.")), Person
    )


run()
