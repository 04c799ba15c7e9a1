import httpx
from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
client.post("/load_lora_adapter", body={"lora_name": "poet", "lora_path": "/models/poet"}, cast_to=object)
print(client.completions.create(model="poet", prompt="Rain", max_tokens=20).choices[0].text)

adapters = httpx.get("http://localhost:3928/lora-adapters").json()
print(adapters)  # with the scale that requests get which name none
httpx.post("http://localhost:3928/lora-adapters", json=[{"id": adapters[0]["id"], "scale": 0.5}])
client.post("/unload_lora_adapter", body={"lora_name": "poet"}, cast_to=object)
