import httpx
from ollama import Client

client = Client(host="http://localhost:3928")
print([model.model for model in client.list().models])
print(client.show("SmolLM2-135M-Instruct").details)
print([model.model for model in client.ps().models])
print(httpx.get("http://localhost:3928/api/version").json()["version"])
