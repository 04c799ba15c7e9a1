"""Reads `GET /v1/server/events` over a real socket, as the page does."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from running import CEILING, RunningServer

Json = dict[str, Any]


class Watching:
    """One open stream. `models`, `requests`: by id, as they were told so far."""

    def __init__(self, response: httpx.Response):
        self.models: dict[str, Json] = {}
        self.requests: dict[str, Json] = {}
        self.names: list[str] = []  # of the events
        self._lines = response.iter_lines()
        self._give_up = time.monotonic() + CEILING

    def next(self) -> Json:
        """The next event."""
        name = ""
        for line in self._lines:
            if time.monotonic() > self._give_up:  # the connection is kept alive, so that reading never times out
                raise TimeoutError(f"told: {self.models}, {self.requests}")
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                event = json.loads(value)
                assert event["type"] == name
                self.names.append(name)
                if "models" in event:
                    self.models = {model["id"]: model for model in event["models"]}
                self.requests |= {request["id"]: request for request in event.get("requests", [])}
                return event
        raise EOFError

    def until(self, holds: Callable[["Watching"], Any]) -> Any:
        """Read on until this holds of what was told, and return what it is. Raises TimeoutError."""
        self._give_up = time.monotonic() + CEILING
        while not (found := holds(self)):
            self.next()
        return found

    @property
    def model(self) -> Json:
        """The only one."""
        (model,) = self.models.values()
        return model

    @property
    def last(self) -> Json:
        """The request that came last."""
        return max(self.requests.values(), key=lambda request: request["began"])


@contextmanager
def watching(server: RunningServer, **headers: str) -> Iterator[Watching]:
    with httpx.stream("GET", f"{server.url}/v1/server/events", headers=headers, timeout=CEILING) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Watching(response)
