import httpx

nitro = httpx.Client(base_url="http://localhost:3928/v1", timeout=60)
with nitro.stream("GET", "/server/events") as events:
    lines = events.iter_lines()
    print(next(lines), next(lines))  # all there is; changes follow

body = {"messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
with nitro.stream("POST", "/chat/completions", json=body) as reply:
    print(nitro.post(f"/server/requests/{reply.headers['x-request-id']}/abort").json())
