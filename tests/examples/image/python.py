import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
picture = base64.b64encode(Path("photo.png").read_bytes()).decode()
parts = [
    {"type": "text", "text": "Which colour is this?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
]
reply = client.chat.completions.create(model="", messages=[{"role": "user", "content": parts}], max_tokens=50)
print(reply.choices[0].message.content)
