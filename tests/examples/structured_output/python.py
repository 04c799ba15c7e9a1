from openai import OpenAI
from pydantic import BaseModel, Field


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
reply = client.chat.completions.parse(
    model="", messages=[{"role": "user", "content": "Anna is 30 years old."}], response_format=Person
)
person = reply.choices[0].message.parsed
print(f"{person.name} is {person.age}")
