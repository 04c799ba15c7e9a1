import httpx

url = "http://localhost:3928"
tokens = httpx.post(f"{url}/tokenize", json={"content": "Hello, world"}).json()["tokens"]
print(tokens)
print(httpx.post(f"{url}/detokenize", json={"tokens": tokens}).json()["content"])
messages = [{"role": "user", "content": "Hello"}]
print(httpx.post(f"{url}/apply-template", json={"messages": messages}).json()["prompt"])
