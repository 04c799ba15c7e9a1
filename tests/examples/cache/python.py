import httpx

print(httpx.delete("http://localhost:3928/v1/cache").json())
