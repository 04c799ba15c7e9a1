from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
begun = client.responses.create(model="", input="Tell me a story.", background=True)
print(client.responses.retrieve(begun.id).status)  # queued, in_progress, completed
print(client.responses.cancel(begun.id).status)  # cancelled, unless it has ended

for item in client.responses.input_items.list(begun.id):
    print(item.role, item.content[0].text)
client.responses.delete(begun.id)
print("deleted")
