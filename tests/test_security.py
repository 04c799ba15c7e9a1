"""Who may call: with the right key, without one where none is set, and always for the health of the server."""

import pytest

from nitro.api.security import may_call

KEY = "sk-Secret 1+/="


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/health", "/", ""])
@pytest.mark.parametrize("authorization", ["", "Bearer x", "Basic eDp5", "nonsense", "\xff"])
def test_without_a_key_everyone_may_call(path: str, authorization: str) -> None:
    assert may_call(path, authorization, None)


@pytest.mark.parametrize("path", ["/health", "/healthz"])
@pytest.mark.parametrize("authorization", ["", "Bearer wrong"])
def test_health_is_open(path: str, authorization: str) -> None:
    assert may_call(path, authorization, KEY)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/chat/completions",
        "/",
        "",
        "health",
        "/Health",
        "/healthy",
        "/health/x",
        "/v1/health",
        "/health?x",
        "/health%2e",
        "/health\n",
        "/health/../v1/models",
    ],
)
def test_nothing_else_is_open(path: str) -> None:
    assert not may_call(path, "", KEY)
    assert not may_call(path, "Bearer wrong", KEY)
    assert may_call(path, f"Bearer {KEY}", KEY)


@pytest.mark.parametrize(
    "authorization, allowed",
    [
        (f"Bearer {KEY}", True),
        (f"bearer {KEY}", True),
        (f"BEARER {KEY}", True),
        (f"Bearer   {KEY}  ", True),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        (KEY, False),
        (f"Basic {KEY}", False),
        (f"Bearer{KEY}", False),
        (f"Token {KEY}", False),
        (f"Bearer {KEY}x", False),
        (f"Bearer {KEY[:-1]}", False),
        (f"Bearer {KEY[1:]}", False),
        (f"Bearer {KEY.lower()}", False),
        (f"Bearer {KEY},", False),
        (f'Bearer "{KEY}"', False),
        (f"Bearer Bearer {KEY}", False),
        (f"Bearer {KEY}, Bearer {KEY}", False),
        ("Bearer None", False),
        ("Bearer \xff\xfe", False),
        (f"Bearer {KEY}\0", False),
    ],
)
def test_the_key_must_be_right(authorization: str, allowed: bool) -> None:
    assert may_call("/v1/models", authorization, KEY) is allowed


def test_a_key_of_other_letters() -> None:
    """A header arrives as bytes and is read as latin-1; what clients send of such a key is UTF-8."""
    key = "klíč-世"
    assert may_call("/v1/models", f"Bearer {key}".encode().decode("latin-1"), key)
    assert not may_call("/v1/models", "Bearer klic-?", key)
