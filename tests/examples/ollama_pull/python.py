from ollama import Client

client = Client(host="http://localhost:3928")
for progress in client.pull("hf.co/bartowski/Qwen3-0.6B-GGUF:Q8_0", stream=True):
    print(progress.status, progress.completed, progress.total)
client.delete("bartowski/Qwen3-0.6B-GGUF:Q8_0")
