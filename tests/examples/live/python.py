import json

import httpx

url = "http://localhost:3928/v1"
chat = {"messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 900, "stream": True}
with httpx.Client(timeout=None) as client, client.stream("POST", f"{url}/chat/completions", json=chat) as answer:
    with client.stream("GET", f"{url}/server/events") as events:
        data = (line.removeprefix("data: ") for line in events.iter_lines() if line.startswith("data: "))
        snapshot = json.loads(next(data))
    for request in snapshot["requests"]:
        print(request["id"], request["route"], request["phase"])
    client.post(f"{url}/server/requests/{answer.headers['x-request-id']}/abort")
    print(answer.read().decode()[-200:])
