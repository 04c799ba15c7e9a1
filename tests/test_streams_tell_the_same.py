"""A stream tells what a whole answer does, on both engines and routes: text, calls, tokens, logprobs, finish, usage.

What it tells of a script's words, test_tools.py and test_reasoning.py compare; here it is parameters.
"""

import json
from collections import defaultdict
from typing import Any

import httpx
import pytest
from running import CEILING, RunningServer

CHAT = {"messages": [{"role": "user", "content": "Tell me a story about the river."}]}
TEXT = {"prompt": "The river"}
GREEDY = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
SCHEMA = {"type": "object", "properties": {"age": {"enum": [1, 2]}}, "required": ["age"], "additionalProperties": False}
FUNCTION = {"name": "count", "parameters": SCHEMA}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}], "temperature": 0, "max_tokens": 60}

ASKED: dict[str, dict[str, Any]] = {
    "greedy": {**CHAT, **GREEDY},
    "everything told": {**CHAT, **GREEDY, "logprobs": True, "top_logprobs": 2, "return_tokens": True},
    "two of them": {**CHAT, **GREEDY, "n": 2, "logprobs": True, "return_tokens": True},
    "a stop": {**CHAT, **GREEDY, "stop": ["e"], "logprobs": True, "return_tokens": True},
    "an early end": {**CHAT, "temperature": 0, "logit_bias": {"2": 100}, "min_tokens": 3, "logprobs": True},
    "a character in parts": {**CHAT, "temperature": 0, "max_tokens": 8, "regex": "🐎ř{3}", "logprobs": True},
    "a schema": {**CHAT, "temperature": 0, "json_schema": SCHEMA, "logprobs": True, "return_tokens": True},
    "a forced call": {**CHAT, **TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "logprobs": True},
    "a call that is cut": {**CHAT, **TOOLS, "tool_choice": "required", "max_tokens": 12, "return_tokens": True},
    "a call and a stop": {**CHAT, **TOOLS, "tool_choice": "required", "stop": ["age"], "logprobs": True},
    "a function": {**CHAT, "functions": [FUNCTION], "function_call": {"name": "count"}, "temperature": 0},
    "no call": {**CHAT, **TOOLS, "max_tokens": 12, "logprobs": True},
    "a text": {**TEXT, **GREEDY},
    "two texts, two of each": {**TEXT, **GREEDY, "prompt": ["The river", "A sea"], "n": 2, "logprobs": 1},
    "an echo": {**TEXT, **GREEDY, "echo": True, "logprobs": 2, "return_tokens": True},
    "a scored text": {**TEXT, "echo": True, "logprobs": 2, "max_tokens": 0},
    "nothing": {**TEXT, "max_tokens": 0},
    "a text with a stop": {**TEXT, **GREEDY, "echo": True, "stop": "e", "logprobs": 0},
}


@pytest.mark.parametrize("name", ASKED)
def test_a_stream_tells_the_same(server: RunningServer, name: str) -> None:
    body = {**ASKED[name], "seed": 1}
    url = f"{server.url}/v1/{'completions' if 'prompt' in body else 'chat/completions'}"
    whole = httpx.post(url, json=body, timeout=CEILING).json()
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    lines = httpx.post(url, json={**body, **streaming}, timeout=CEILING).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    *chunks, last = [json.loads(line.removeprefix("data: ")) for line in lines[:-2] if not line.startswith(":")]
    assert last["choices"] == [] and {chunk["usage"] for chunk in chunks} == {None}
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        (last["id"], last["created"], whole["model"])
    }
    assert _counts(last["usage"]) == _counts(whole["usage"]) and set(last["timings"]) == set(whole["timings"])
    assert _collected(chunks) == {choice["index"]: _whole(choice) for choice in whole["choices"]}


def _counts(usage: dict[str, Any]) -> list[int]:
    return [usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]


def _parts(said: dict[str, Any]) -> dict[str, Any]:
    """Of a message, or of all deltas of one."""
    call = said.get("function_call") or {}
    return {
        "text": said.get("content") or said.get("text") or "",
        "calls": [[c["function"]["name"], c["function"]["arguments"]] for c in said.get("tool_calls") or []],
        "function": [call.get("name"), call.get("arguments")],
    }


def _whole(choice: dict[str, Any]) -> dict[str, Any]:
    told = _parts(choice.get("message") or choice)
    scored = choice.get("logprobs") or {}
    logprobs = [_rounded(entry) for entry in scored.get("content") or zip(*filter(None, scored.values()), strict=True)]
    return {**told, "finish": choice["finish_reason"], "tokens": choice.get("tokens", []), "logprobs": logprobs}


def _collected(chunks: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """By choice, in the form of `_whole`."""
    made: dict[int, dict[str, Any]] = defaultdict(lambda: {**_parts({}), "finish": None, "tokens": [], "logprobs": []})
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        told, delta = made[choice["index"]], choice.get("delta") or choice
        assert told["finish"] is None, "nothing comes after the finish"
        told["text"] += delta.get("content") or delta.get("text") or ""
        for call in delta.get("tool_calls") or []:
            if "name" in call["function"]:
                told["calls"].append([call["function"]["name"], ""])
            told["calls"][call["index"]][1] += call["function"]["arguments"]
        if call := delta.get("function_call"):
            told["function"] = [
                told["function"][0] or call.get("name"),
                (told["function"][1] or "") + call["arguments"],
            ]
        told["finish"] = choice["finish_reason"]
        told["tokens"] += choice.get("tokens", [])
        scored = choice.get("logprobs") or {}
        entries = scored.get("content") or zip(*filter(None, scored.values()), strict=True)
        told["logprobs"] += [_rounded(entry) for entry in entries]
    return dict(made)


def _rounded(value: Any) -> Any:
    """Batch numerics are no matter here: a logprob is a place in the list."""
    if isinstance(value, float):
        return None
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items() if key != "top_logprobs"}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
