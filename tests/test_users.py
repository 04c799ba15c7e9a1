"""Two users of one server, each from an address of its own: one has filled the queue, the other is served."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from runners import Gate
from running import CEILING, RunningServer, until

from nitro.api.users import user_of

GATED = "runners:GatedRunner"
HELLO = [{"role": "user", "content": "Hello"}]


def client(server: RunningServer, address: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, transport=httpx.HTTPTransport(local_address=address), timeout=CEILING)


def test_who_has_filled_the_queue_has_filled_it_for_themselves(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=2, max_queue=2)
    gate.accept()
    server.ready()
    much: dict[str, Any] = {"messages": HELLO, "max_tokens": 1000, "stream": True}
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        first, second = (stack.enter_context(client(server, address)) for address in ("127.0.0.1", "127.0.0.2"))
        for _ in range(4):
            stack.enter_context(first.stream("POST", "/v1/chat/completions", json=much))
        assert first.post("/v1/chat/completions", json=much).status_code == 429
        little = {"messages": HELLO, "max_tokens": 3, "service_tier": "default"}
        answer = pool.submit(second.post, "/v1/chat/completions", json=little)
        open = server.engine.generations.open
        until(lambda: len({each.share.user for each in list(open) if each.accepted.done()}) == 2)
        steps = 0
        while not answer.done():
            gate.step()
            steps += 1
        reply = answer.result().json()
        assert reply["usage"]["completion_tokens"] == 3 and reply["service_tier"] == "default"
        assert steps < 100, "long before the first user's answers have ended"


@pytest.mark.parametrize(
    ("asked", "told", "key"),
    [("priority", "priority", None), ("flex", "flex", None), ("auto", "default", None), ("scale", "default", None)],
)
def test_tiers(serve: Callable[..., RunningServer], asked: str, told: str, key: str | None) -> None:
    server = serve().ready()
    body = {"messages": HELLO, "max_tokens": 1, "service_tier": asked}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body).json()["service_tier"] == told
    forwarded = {"x-forwarded-for": "192.0.2.7"}  # no longer from this machine, so nobody knows who it is
    reply = httpx.post(f"{server.url}/v1/responses", json={"input": "Hi", "service_tier": asked}, headers=forwarded)
    assert reply.json()["service_tier"] == ("default" if told == "priority" else told)


def test_what_is_no_tier_is_refused(serve: Callable[..., RunningServer]) -> None:
    server = serve().ready()
    response = httpx.post(f"{server.url}/v1/chat/completions", json={"messages": HELLO, "service_tier": "fast"})
    assert response.status_code == 400 and response.json()["error"]["param"] == "service_tier"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
    ],
)
def test_whose_addresses_are_one_users(one: str, other: str, same: bool) -> None:
    users = [user_of({"client": (address, 1)}) for address in (one, other)]  # type: ignore[typeddict-item]
    assert (users[0] == users[1]) is same


def test_a_socket_without_addresses_has_one_user() -> None:
    assert user_of({"client": None}) == ""  # type: ignore[typeddict-item]
