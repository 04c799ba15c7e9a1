import httpx

url = "http://localhost:3928"
print(httpx.get(f"{url}/health").json()["status"], httpx.get(f"{url}/healthz").status_code)
print(httpx.get(f"{url}/metrics").text)
document = httpx.get(f"{url}/schema/openapi.json").json()  # also at /schema
assert document == httpx.get(f"{url}/schema").json()
