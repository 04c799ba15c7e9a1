"""How a server ends: when it is told to, not when it looks."""

from collections.abc import Callable

import httpx
import pytest
from running import CEILING, RunningServer

from nitro.api import http_server


def test_it_is_told(monkeypatch: pytest.MonkeyPatch, serve: Callable[..., RunningServer]) -> None:
    """While it sleeps for longer than its end is waited for, and a client keeps its connection."""
    monkeypatch.setattr(http_server, "TICK", 10 * CEILING)
    server = serve().ready()
    with httpx.Client() as client:
        assert client.get(f"{server.url}/health").status_code == 200
        server.__exit__()
        with pytest.raises(httpx.TransportError):
            client.get(f"{server.url}/health")
