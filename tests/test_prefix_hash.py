"""x-nitro-prefix: every protocol's reply has the hash that a gateway computes of the request's body."""

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import CEILING, RunningServer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "replicas"))
import prefix_key

SYSTEM = "Answer briefly.\nIn English: naïve 😀."
ASKED = [{"role": "user", "content": "Hello"}]
LATER = [*ASKED, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And now?"}]
WHOLE = [{"role": "system", "content": SYSTEM}, *ASKED]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
KEY = prefix_key.of_messages(WHOLE)
BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("chat/completions", {"messages": WHOLE}, KEY),
    ("chat/completions", {"messages": [WHOLE[0], *LATER], "stream": True}, KEY),
    ("chat/completions", {"messages": [WHOLE[0], *PARTS]}, KEY),
    ("chat/completions", {"messages": [{"role": "developer", "content": SYSTEM}, *LATER]}, KEY),
    ("chat/completions", {"messages": LATER}, prefix_key.of_messages(ASKED)),
    ("chat/completions", {"messages": [WHOLE[0], LATER[1]]}, prefix_key.of_messages([WHOLE[0]])),
    ("messages", {"messages": LATER, "system": SYSTEM}, KEY),
    ("messages", {"messages": PARTS, "system": SYSTEM, "stream": True}, KEY),
    ("responses", {"input": "Hello", "instructions": SYSTEM, "store": False}, KEY),
    ("responses", {"input": LATER, "instructions": SYSTEM, "store": False, "stream": True}, KEY),
    (
        "responses",
        {"input": [LATER[1]], "instructions": SYSTEM, "store": False},
        prefix_key.of_messages([LATER[1]], SYSTEM),
    ),
    ("completions", {"prompt": "é" * 300}, prefix_key.of_prompt("é" * 256 + "more")),
]


@pytest.mark.parametrize(("route", "body", "key"), BODIES)
def test_a_reply_has_it(fake_server: RunningServer, route: str, body: dict[str, Any], key: str) -> None:
    limit = {"max_output_tokens": 16} if route == "responses" else {"max_tokens": 2}
    reply = httpx.post(f"{fake_server.url}/v1/{route}", json={**body, **limit}, timeout=CEILING)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-nitro-prefix"] == key


def test_a_response_that_goes_on(fake_server: RunningServer) -> None:
    """A gateway cannot know what it goes on with; the server does."""
    url, limit = f"{fake_server.url}/v1/responses", {"max_output_tokens": 16, "instructions": SYSTEM}
    first = httpx.post(url, json={"input": "Hello", **limit}, timeout=CEILING)
    body = {"input": "And now?", "previous_response_id": first.json()["id"], **limit}
    second = httpx.post(url, json=body, timeout=CEILING)
    assert first.headers["x-nitro-prefix"] == second.headers["x-nitro-prefix"] == KEY


def test_token_ids(fake_server: RunningServer) -> None:
    def key(prompt: list[int]) -> str:
        body = {"prompt": prompt, "max_tokens": 1}
        reply = httpx.post(f"{fake_server.url}/v1/completions", json=body, timeout=CEILING)
        return reply.headers["x-nitro-prefix"]

    assert key([65] * 70) == key([65] * 64 + [66]) != key([65] * 63 + [66])


def test_a_page_may_read_it(fake_server: RunningServer) -> None:
    reply = httpx.get(f"{fake_server.url}/health", headers={"origin": "http://localhost:8080"})
    assert "x-nitro-prefix" in reply.headers["access-control-expose-headers"]
