from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
question = "What is the capital of France?"
body = {"messages": [{"role": "user", "content": question}]}
print(client.post("/chat/completions/input_tokens", body=body, cast_to=object)["input_tokens"])
print(client.responses.input_tokens.count(input=question).input_tokens)
