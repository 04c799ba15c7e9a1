from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
options = {"model": "", "file": Path("speech.wav"), "prompt": "Names: Noé, Nitro"}
print(client.audio.transcriptions.create(language="de", **options).text)
print(client.audio.translations.create(**options).text)
