"""Tokens without a generation: counted, listed, turned into text, and the prompt itself, on both engines.

What is counted is what a generation of the same request says in its usage.
"""

from typing import Any

import httpx
import pytest
from running import CEILING, RunningServer

HELLO = [{"role": "user", "content": "Hello, wörld 🌊"}]
TOOLS = [
    {"type": "function", "function": {"name": "count", "description": "Counts.", "parameters": {"type": "object"}}}
]


def post(server: RunningServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=CEILING)


def reply(server: RunningServer, path: str, **body: Any) -> Any:
    response = post(server, path, **body)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(server: RunningServer, path: str, **body: Any) -> tuple[str | None, str | None]:
    response = post(server, path, **body)
    assert response.status_code == 400, response.text
    return response.json()["error"]["param"], response.json()["error"]["code"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": TOOLS},
        {"messages": [{"role": "system", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "Well, "}]},
        {"tools": TOOLS, "tool_choice": "required", "enable_thinking": False},
        {"response_format": {"type": "json_object"}, "n": 2},
    ],
)
def test_a_conversation_is_counted_as_its_usage_counts_it(server: RunningServer, fields: dict[str, Any]) -> None:
    body = {"messages": HELLO, **fields}
    told = reply(server, "/v1/chat/completions", **body, max_tokens=1)
    assert reply(server, "/v1/chat/completions/input_tokens", **body) == {
        "input_tokens": told["usage"]["prompt_tokens"] // fields.get("n", 1)
        if False
        else told["usage"]["prompt_tokens"],
        "object": "response.input_tokens",
    }
    prompt = reply(server, "/apply-template", **body)["prompt"]
    tokens = reply(server, "/tokenize", content=prompt)["tokens"]
    assert len(tokens) == told["usage"]["prompt_tokens"]
    assert reply(server, "/detokenize", tokens=tokens) == {"content": prompt}
