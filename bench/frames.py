"""Streams of any route, of which only the events are counted: what `nitro.bench.client` reads is chat's alone."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from bench import processes
from nitro.bench.http_response import HttpResponse
from nitro.errors import BenchError

EVENT = b"data: "
READ_SIZE = 65536
_ASKED = {"ignore_eos": True, "stream": True, "temperature": 0}
# By the name of a row: the path, and a body; `{tokens}` of them are generated
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (
        "/v1/chat/completions",
        {**_ASKED, "messages": [{"role": "user", "content": "a"}], "max_tokens": "{tokens}"},
    ),
    "messages": ("/v1/messages", {**_ASKED, "messages": [{"role": "user", "content": "a"}], "max_tokens": "{tokens}"}),
    "responses": ("/v1/responses", {**_ASKED, "input": "a", "max_output_tokens": "{tokens}", "store": False}),
}


async def per_second(server: processes.Server, route: str, streams: int, tokens: int) -> float:
    """Events a second of so many streams together. Raises BenchError."""
    path, body = ROUTES[route]
    filled = {name: tokens if value == "{tokens}" else value for name, value in body.items()}
    begin = time.perf_counter()
    counts = await asyncio.gather(*(_count(server, path, filled) for _ in range(streams)))
    return sum(counts) / (time.perf_counter() - begin)


async def _count(server: processes.Server, path: str, body: Mapping[str, Any]) -> int:
    """The events of one stream."""
    reader, writer = await asyncio.open_connection(processes.HOST, server.port)
    data = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", f"Host: {processes.HOST}", "Content-Type: application/json"]
    head += [f"Content-Length: {len(data)}", "Connection: close", "", ""]
    writer.write("\r\n".join(head).encode() + data)
    response, count, rest = HttpResponse(), 0, b""
    try:
        while not response.is_complete:
            text = rest + response.feed(await reader.read(READ_SIZE))
            if response.status not in (0, 200):
                raise BenchError(f"{path} is answered with {response.status}: {text[:300].decode(errors='replace')}")
            count += text.count(EVENT)
            rest = text[1 - len(EVENT) :] if text else b""
    finally:
        writer.close()
    return count
