from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
file = Path("questions.jsonl")
upload = client.uploads.upload_file_chunked(file=file, mime_type="application/jsonl", purpose="batch", part_size=50)
print(upload.status, upload.file.id, upload.file.bytes)

other = client.uploads.create(filename="x.jsonl", bytes=10, mime_type="application/jsonl", purpose="batch")
print(client.uploads.cancel(other.id).status)
