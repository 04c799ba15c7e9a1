import httpx

url = "http://localhost:3928/v1"
query = "What is the capital of France?"
documents = ["Oslo is in Norway.", "Paris has been the capital since 987."]

reply = httpx.post(f"{url}/rerank", json={"query": query, "documents": documents})
for result in reply.json()["results"]:  # the best one first
    print(result["relevance_score"], documents[result["index"]])

reply = httpx.post(f"{url}/score", json={"text_1": query, "text_2": documents})
print([each["score"] for each in reply.json()["data"]])  # in the order of the documents
