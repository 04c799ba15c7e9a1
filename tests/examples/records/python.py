from pathlib import Path

import httpx

url = "http://localhost:3928/v1/records"
for record in httpx.get(url, params={"limit": 5}).json()["data"]:  # the newest first
    print(record["id"], httpx.get(f"{url}/{record['id']}").json()["exchange"]["request"])
    Path(f"{record['id']}.jsonl").write_bytes(httpx.get(f"{url}/{record['id']}/file").content)  # for `nitro replay`
    httpx.delete(f"{url}/{record['id']}")
print("deleted", httpx.delete(url).json())  # all of them
