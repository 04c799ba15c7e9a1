from anthropic import Anthropic

client = Anthropic(base_url="http://localhost:3928", api_key="none")
model = "SmolLM2-135M-Instruct"
messages = [{"role": "user", "content": "What is the capital of France?"}]
print(client.messages.count_tokens(model=model, messages=messages).input_tokens, "tokens")
with client.messages.stream(model=model, messages=messages, max_tokens=50) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
