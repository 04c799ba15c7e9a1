from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
with client.responses.stream(model="", input="What is the capital of France?", max_output_tokens=50) as stream:
    for event in stream:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
