from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
texts = ["A man eats.", "Somebody has a meal.", "Shares fell."]
reply = client.embeddings.create(model="", input=texts)
first, *others = (each.embedding for each in reply.data)
for text, vector in zip(texts[1:], others, strict=True):
    likeness = sum(a * b for a, b in zip(first, vector, strict=True))  # their length is 1
    print(f"{likeness:.2f}", text)
