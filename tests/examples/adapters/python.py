import httpx

nitro = httpx.Client(base_url="http://localhost:3928", timeout=60)
nitro.post("/v1/load_lora_adapter", json={"lora_name": "poet", "lora_path": "/models/poet"})
reply = nitro.post("/v1/completions", json={"model": "poet", "prompt": "Rain", "max_tokens": 20})
print(reply.json()["model"], reply.json()["choices"][0]["text"])

adapters = nitro.get("/lora-adapters").json()
print(adapters)  # with the scale that requests get which name none
nitro.post("/lora-adapters", json=[{"id": adapters[0]["id"], "scale": 0.5}])
nitro.post("/v1/unload_lora_adapter", json={"lora_name": "poet"})
