import httpx

head = {"Authorization": "Bearer secret"}
told = httpx.get("http://localhost:3928/v1/usage", params={"days": 7}, headers=head).json()
for key in told["keys"]:
    print(key["name"], "has left of its tokens:", key["tokens"])
for row in told["data"]:  # the newest day first
    print(row["day"], row["model"], row["requests"], row["prompt_tokens"], row["completion_tokens"])
