from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
for model in client.models.list():
    print(model.id)
print(client.models.retrieve("SmolLM2-135M-Instruct").context_length)

settings = {"model": "SmolLM2-135M-Instruct", "options": {"context": 1024}, "keep_alive": "1h", "pin": True}
print(client.post("/models/load", body=settings, cast_to=object)["state"])
client.post("/models/unload", body={"model": "SmolLM2-135M-Instruct"}, cast_to=object)
print("unloaded")
