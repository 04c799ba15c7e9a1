import httpx

nitro = httpx.Client(base_url="http://localhost:3928/inferences/llamacpp", timeout=60)
print(nitro.post("/loadmodel", json={"llama_model_path": "/models/smollm2.gguf", "ctx_len": 512}).text)
print(nitro.get("/modelstatus").json()["model_loaded"])
messages = [{"role": "user", "content": "What is the capital of France?"}]
reply = nitro.post("/chat_completion", json={"messages": messages, "max_tokens": 50, "temperature": 0})
print(reply.json()["choices"][0]["message"]["content"])
print(len(nitro.post("/embedding", json={"input": "A man eats."}).json()["data"][0]["embedding"]), "numbers")
print(nitro.get("/unloadmodel").text)
