"""A real model is made to call a tool in every format: what its tokens make of the grammar, the parser reads, whole and
as it streams, and the arguments keep their schema. Which texts a grammar allows at all, test_forced_calls.py asks."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asking import Told, ask
from running import RunningServer

from nitro.config import ServeConfig
from nitro.models.handle import ServedModel
from nitro.text.tool_formats import known

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
                "unit": {"enum": ["c", "f"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def server(quick_smollm: Path) -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine="llama", model=str(quick_smollm), port=0, context=1024)) as server:
        yield server.ready()


@pytest.fixture
def model(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> ServedModel:
    """What `--tool-format` sets may change from request to request, without loading it again."""
    model = server.server.models.default
    monkeypatch.setattr(model, "_tool_format", None)
    return model


def check(server: RunningServer) -> None:
    """Whole and as a stream, at the same time."""
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": "What is the weather in Oslo? Call get_weather."}],
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
        "max_tokens": 300,
    }

    def one(stream: bool) -> Told:
        return ask(server, stream=stream, **asked)

    with ThreadPoolExecutor(2) as pool:
        for told in pool.map(one, (False, True)):
            assert (told.finish, told.content, len(told.calls)) == ("tool_calls", "", 1), told
            ((name, arguments),) = told.calls
            given = json.loads(arguments)
            assert name == "get_weather"
            assert {"city", "unit"} <= set(given) <= {"city", "unit", "days"}
            assert isinstance(given["city"], str) and len(given["city"]) <= 12 and given["unit"] in ("c", "f")
            assert given.get("days", 1) in range(1, 10)


@pytest.mark.parametrize("name", sorted(known()))
def test_a_call_in_every_format(server: RunningServer, model: ServedModel, name: str) -> None:
    """It is told of the tools in words, and shown the format."""
    model._tool_format = name
    check(server)
