from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="secret")
print([model.id for model in client.models.list()])
