from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
reply = client.completions.create(model="", prompt="The capital of France is", max_tokens=8, temperature=0)
print(reply.choices[0].text)
