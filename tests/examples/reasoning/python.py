from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
stream = client.chat.completions.create(
    model="",
    messages=[{"role": "user", "content": "Which is larger, 9.9 or 9.11?"}],
    extra_body={"enable_thinking": True, "thinking_budget": 500},
    stream=True,
)
for chunk in stream:
    delta = chunk.choices[0].delta
    print(getattr(delta, "reasoning_content", "") or delta.content or "", end="", flush=True)
