"""What a key may do and how much, with clocks that the tests set: bounds that hold for any load, and what they mean."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro.api import rate_headers, user_routes
from nitro.api.openapi.document import OPERATIONS
from nitro.api.openapi.ollama_operations import REFUSED
from nitro.engines.shares import Tier
from nitro.errors import ApiError, StateError
from nitro.keys import refusals
from nitro.keys.account import Account, Use
from nitro.keys.bucket import MINUTE, Bucket
from nitro.keys.clock import DAY, Clock
from nitro.keys.key import Key
from nitro.keys.ledger import KEPT_DAYS, Ledger
from nitro.state.store import Store
from nitro.state.usage import Counts

HASH = "sha256:" + "0" * 64
TOKENS = Counts(prompt=30, cached=20, completion=10)


@dataclass
class Time:
    """Both clocks, which go as the test says."""

    now: float = 20_000 * DAY + 3600.0  # an hour after midnight
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(lambda: self.now, lambda: self.now)


def account(time: Time, **limits: int) -> Account:
    return Account("alice", Key(hash=HASH, **limits), Ledger(clock=time.clock), time.clock)


def refusal(of: Account) -> ApiError:
    with pytest.raises(ApiError) as caught:
        of.begin()
    assert caught.value.status == 429
    return caught.value


def done(of: Account, counts: Counts = TOKENS) -> None:
    """A request with so many tokens, from its beginning to its end."""
    use = of.begin()
    use.runs("m", lambda: counts.tokens)
    use.spent("m", counts)
    use.end()


# Minutes


@given(
    limit=st.integers(1, 10_000),
    events=st.lists(st.tuples(st.floats(0, 200), st.integers(0, 20_000)), max_size=60),
)
def test_no_more_than_the_limit_in_any_time(limit: int, events: list[tuple[float, int]]) -> None:
    """What is begun while something is left, whatever it takes: the limit, what has come back, and the last."""
    now, bucket = 0.0, Bucket(limit, 0.0)
    taken: list[tuple[float, int]] = []
    for wait, count in events:
        now += wait
        if not bucket.until(1, now):
            bucket.take(count, now)
            taken.append((now, count))
        assert bucket.level(now) <= limit
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            begun = sum(count for _, count in taken[first:last])  # but for the last
            seconds = taken[last][0] - taken[first][0]
            assert begun <= limit + limit * seconds / MINUTE + 1e-6 * max(limit, begun)


@given(limit=st.integers(1, 10_000), taken=st.integers(0, 50_000), count=st.integers(1, 10_000))
def test_after_the_time_that_is_told_there_is_room(limit: int, taken: int, count: int) -> None:
    bucket = Bucket(limit, 0.0)
    bucket.take(taken, 0.0)
    wait = bucket.until(count, 0.0)
    assert not wait or bucket.until(count, wait * 0.99) > 0
    assert bucket.until(count, wait) == 0


def test_a_limit_may_change() -> None:
    bucket = Bucket(60, 0.0)
    bucket.take(50, 0.0)
    bucket.resize(100, 0.0)
    assert bucket.level(0.0) == 50
    bucket.resize(10, 0.0)
    assert bucket.level(0.0) == -40 and bucket.until(1, 0.0) == 41 * MINUTE / 10


def test_requests_of_a_minute() -> None:
    time = Time()
    alice = account(time, requests_per_minute=2)
    for _ in range(2):
        done(alice)
    error = refusal(alice)
    assert (error.type, error.code, error.retry_after) == ("requests", "rate_limit_exceeded", 30)
    assert "'alice' on requests per minute: Limit 2" in str(error) and "try again in 30s" in str(error)
    time.now += 30
    done(alice)
    assert refusal(alice).retry_after == 30
    assert alice.refused == {"rate_limit_exceeded": 2}


def test_tokens_of_a_minute_are_counted_while_they_come() -> None:
    time = Time()
    alice = account(time, tokens_per_minute=600)
    first = alice.begin()
    so_far = 500
    first.runs("m", lambda: so_far)
    assert alice.left("tokens") == (600, 100, 50.0)
    second = alice.begin()
    so_far = 700
    assert refusal(alice).type == "tokens"
    assert alice.left("tokens") == (600, 0, 70.0)
    first.spent("m", Counts(prompt=500, completion=250))  # 150 are owed
    first.end()
    second.end()
    assert refusal(alice).retry_after == 16, "151 tokens, ten a second"
    time.now += 16
    alice.begin()


def test_what_is_not_of_limits_is_not_counted() -> None:
    alice = account(Time(), requests_per_minute=1, requests_at_once=1)
    for _ in range(3):
        alice.begin(counts=False)
    alice.begin()
    assert refusal(alice)
    alice.begin(counts=False)


def test_requests_at_once() -> None:
    alice = account(Time(), requests_at_once=2)
    first, _ = alice.begin(), alice.begin()
    error = refusal(alice)
    assert (error.type, error.code, error.retry_after) == ("requests", "rate_limit_exceeded", 1)
    first.end()
    first.end()  # again: nothing happens
    alice.begin()
    assert refusal(alice)


# Days


def test_a_day_that_is_used_up() -> None:
    time = Time()
    alice = account(time, tokens_per_day=100)
    for _ in range(3):  # 40 each: the last may be what is more than the day has
        done(alice)
    error = refusal(alice)
    assert (error.type, error.code, error.retry_after) == ("insufficient_quota", "insufficient_quota", 23 * 3600)
    assert "100 tokens a day" in str(error) and "in 23h0m0s" in str(error)
    time.now += 23 * 3600
    done(alice)
    assert alice.left("tokens") == (100, 60, DAY)


def test_what_runs_counts_for_the_day() -> None:
    alice = account(Time(), tokens_per_day=100, requests_per_day=2)
    use = alice.begin()
    use.runs("m", lambda: 100)
    assert refusal(alice).code == "insufficient_quota"
    assert alice.left("requests") == (2, 1, 23 * 3600)
    use.runs("m", lambda: 10)
    alice.begin()
    assert "2 requests a day" in str(refusal(alice))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 300))
def test_a_day_s_tokens_are_exceeded_by_one_request_at_most(requests: list[int], limit: int) -> None:
    alice = account(Time(), tokens_per_day=limit)
    used = []
    for tokens in requests:
        try:
            done(alice, Counts(completion=tokens))
        except ApiError:
            break
        used.append(tokens)
    assert sum(used[:-1]) < limit
    assert len(used) == len(requests) or sum(used) >= limit


def test_a_key_that_changes_keeps_what_it_has_used() -> None:
    time = Time()
    alice = account(time, requests_per_minute=10, tokens_per_day=1000)
    running = alice.begin()
    for _ in range(4):
        done(alice)
    alice.change(Key(hash=HASH, requests_per_minute=5, tokens_per_day=160, longest_context=7))
    assert refusal(alice).code == "insufficient_quota"
    alice.change(Key(hash=HASH, requests_per_minute=5))
    assert refusal(alice).code == "rate_limit_exceeded", "four and the one that runs"
    assert running.key.longest_context is None, "what is under way goes on as it began"
    alice.change(Key(hash=HASH))
    done(alice)


def test_usage_is_counted_by_model_and_day() -> None:
    time = Time()
    alice = account(time)
    done(alice)
    time.now += DAY
    done(alice)
    alice.begin().end()  # which reached no model
    rows = asyncio.run(alice._ledger.rows(2))
    assert [(row.day, row.model, row.counts) for row in rows] == [
        (20_001, "", Counts(requests=1)),
        (20_001, "m", TOKENS + Counts(requests=1)),
        (20_000, "m", TOKENS + Counts(requests=1)),
    ]
    assert len(asyncio.run(alice._ledger.rows(1))) == 2
    assert asyncio.run(alice._ledger.rows(2, "bob")) == []
    assert dict(alice._ledger.totals()) == {"alice": Counts(3, 60, 40, 20)}


def test_servers_of_a_folder_count_together(tmp_path: Path) -> None:
    """What one has written the other knows once it writes itself; old days are forgotten."""

    async def count() -> None:
        time = Time()
        stores = [Store(tmp_path, 30, 2**30) for _ in range(2)]
        one, other = (Ledger(store, time.clock) for store in stores)
        await one.start()
        await other.start()
        one.add("alice", "m", TOKENS)
        other.add("alice", "m", TOKENS)
        other.add("bob", "m", Counts(requests=1))
        assert one.today("alice") == other.today("alice") == (0, 40)
        await one.write()
        await other.write()
        assert one.today("alice") == (0, 40) and other.today("alice") == (0, 80)
        one.add("alice", "n", Counts(requests=1))
        assert (await one.rows(1, "alice"))[0].counts == TOKENS + TOKENS
        assert one.today("alice") == (1, 80)
        time.now += (KEPT_DAYS + 1) * DAY
        one.add("alice", "m", TOKENS)
        assert [row.day for row in await one.rows(KEPT_DAYS + 2)] == [time.clock.day]
        for ledger in (one, other):
            await ledger.close()
        for store in stores:
            await store.close()

    asyncio.run(count())


def test_what_cannot_be_written_is_kept_for_later(tmp_path: Path) -> None:
    async def count() -> None:
        time = Time()
        (tmp_path / "state").write_text("no folder")
        store = Store(tmp_path / "state", 30, 2**30)
        ledger = Ledger(store, time.clock)
        await ledger.start()
        for _ in range(2):
            ledger.add("alice", "m", TOKENS)
            with pytest.raises(StateError):
                await ledger.write()
        assert ledger.today("alice") == (0, 80)
        (tmp_path / "state").unlink()
        await ledger.close()
        again = Ledger(store, time.clock)
        await again.start()
        assert again.today("alice") == (0, 80)
        await again.close()
        await store.close()

    asyncio.run(count())


# What is told


def test_headers() -> None:
    time = Time()
    alice = account(time, requests_per_minute=60, tokens_per_day=1000)
    done(alice)
    assert {name.decode(): value.decode() for name, value in rate_headers.of(alice)} == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "960",
        "x-ratelimit-reset-tokens": "23h0m0s",
    }
    assert rate_headers.of(account(time)) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0ms"), (0.0121, "13ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (5400.5, "1h30m1s")],
)
def test_durations(seconds: float, told: str) -> None:
    assert refusals.duration(seconds) == told


# Rights


@pytest.mark.parametrize(
    ("tiers", "asked", "given"),
    [
        (("default", "flex"), None, "default"),
        (("default", "flex"), "priority", "default"),
        (("default", "flex"), "flex", "flex"),
        (("flex",), None, "flex"),
        (("flex",), "priority", "flex"),
        (("priority",), None, "priority"),
        (("priority", "default"), "flex", "default"),
        (("priority", "flex"), "default", "flex"),
        (("priority", "flex"), "priority", "priority"),
    ],
)
def test_tiers(tiers: tuple[Tier, ...], asked: Tier | None, given: Tier) -> None:
    assert Key(hash=HASH, tiers=tiers).tier(asked) == given


@pytest.mark.parametrize(
    ("routes", "call", "may"),
    [
        (None, "POST /anything", True),
        ((), "GET /v1/models", False),
        (("/v1/chat/completions",), "POST /v1/chat/completions", True),
        (("/v1/chat/completions",), "POST /v1/chat/completions/input_tokens", False),
        (("/v1/chat/completions",), "POST /V1/chat/completions", False),
        (("/v1/responses*",), "GET /v1/responses/resp_1/input_items", True),
        (("GET /v1/*",), "POST /v1/chat/completions", False),
        (("GET /v1/*",), "HEAD /v1/models", True),
        (("/v1/.*",), "GET /v1/models", False),
    ],
)
def test_routes(routes: tuple[str, ...] | None, call: str, may: bool) -> None:
    assert Key(hash=HASH, routes=routes).has_route(*call.split()) is may


@pytest.mark.parametrize(
    ("models", "id", "may"),
    [
        (None, "x", True),
        ((), "x", False),
        (("qwen3*",), "Qwen3:4b", True),
        (("qwen3*",), "a-qwen3", False),
        (("a.b",), "aXb", False),
        (("a", "b"), "b", True),
    ],
)
def test_models(models: tuple[str, ...] | None, id: str, may: bool) -> None:
    assert Key(hash=HASH, models=models).has_model(id) is may


def test_expiry() -> None:
    key = Key(hash=HASH, expires=datetime(2027, 1, 1, tzinfo=UTC))
    at = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert not key.has_expired(at - 1) and key.has_expired(at)
    assert not Key(hash=HASH).has_expired(at)


ADMINS = {
    "DELETE /v1/cache",
    "POST /v1/models/load",
    "POST /v1/models/unload",
    "POST /v1/load_lora_adapter",
    "POST /v1/unload_lora_adapter",
    "GET /lora-adapters",
    "POST /lora-adapters",
    "GET /v1/records",
    "DELETE /v1/records",
    "GET /v1/records/{record_id}",
    "DELETE /v1/records/{record_id}",
    "GET /v1/records/{record_id}/file",
    "GET /metrics",
    "GET /v1/server/events",
    "POST /v1/server/requests/{request_id}/abort",
    "POST /api/pull",
    "DELETE /api/delete",
}


def test_every_route_is_everybody_s_or_for_administrators() -> None:
    """A new one is for administrators until it is in nitro/api/user_routes.py; else it belongs into the list here."""
    refused = {(method, path) for (method, path), operation in OPERATIONS.items() if operation is REFUSED}
    routes = {f"{method.upper()} {path}" for method, path in OPERATIONS if (method, path) not in refused}
    assert {route for route in routes if not user_routes.has(*route.split())} == ADMINS


@pytest.mark.parametrize(
    "call",
    ["GET /", "HEAD /v1/models", "POST /inferences/llamacpp/chat_completion", "GET /inferences/server/modelstatus"],
)
def test_routes_of_everybody(call: str) -> None:
    assert user_routes.has(*call.split())


@pytest.mark.parametrize(
    "call",
    [
        "POST /inferences/llamacpp/loadmodel",
        "GET /inferences/llamacpp/unloadmodel",
        "DELETE /processmanager/destroy",
        "DELETE /v1/models",
        "POST /v1/chat/completions/x",
        "PATCH /v1/responses/x",
        "GET /v1/records\n",
    ],
)
def test_routes_of_administrators(call: str) -> None:
    method, _, path = call.partition(" ")
    assert not user_routes.has(method, path)


def test_a_use_is_its_account_s() -> None:
    alice = account(Time())
    assert isinstance(alice.resume(), Use) and alice.at_once == 0
