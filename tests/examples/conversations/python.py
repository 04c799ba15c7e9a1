from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
talk = client.conversations.create(metadata={"topic": "France"})
client.responses.create(model="", conversation=talk.id, input="What is the capital of France?", max_output_tokens=50)
question = {"type": "message", "role": "user", "content": "And of Norway?"}
(added,) = client.conversations.items.create(talk.id, items=[question]).data

for item in client.conversations.items.list(talk.id, order="asc"):
    print(item.role, item.content[0].text)
print(client.conversations.items.retrieve(added.id, conversation_id=talk.id).content)
client.conversations.items.delete(added.id, conversation_id=talk.id)
client.conversations.update(talk.id, metadata={"topic": "capitals"})
print(client.conversations.retrieve(talk.id).metadata)
print("deleted", client.conversations.delete(talk.id).deleted)
