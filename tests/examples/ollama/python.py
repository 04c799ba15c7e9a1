from ollama import Client

client = Client(host="http://localhost:3928")
model, options = "SmolLM2-135M-Instruct", {"num_predict": 50}
messages = [{"role": "user", "content": "What is the capital of France?"}]
for part in client.chat(model, messages, options=options, stream=True):
    print(part.message.content, end="", flush=True)
print(client.generate(model, "What is the capital of France?", options=options).response)
print(client.embed(model, ["A man eats."]).embeddings[0])
