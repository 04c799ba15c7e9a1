import time
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
file = client.files.create(file=Path("questions.jsonl"), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")

while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
print(batch.status, batch.request_counts)
print(client.files.content(batch.output_file_id).text)
print(client.files.retrieve(batch.output_file_id).bytes)
print(len(client.batches.list().data), len(client.files.list().data))
client.batches.cancel(batch.id)  # too late: it has ended
print("deleted", client.files.delete(file.id).deleted)
