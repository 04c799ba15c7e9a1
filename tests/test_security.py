"""Who may call: with the right key, under a host name of ours, and from which web pages."""

import pytest

from nitro.api.auth import Guard
from nitro.errors import ApiError

KEY = "sk-Secret 1+/="


def may_call(path: str, authorization: str, api_key: str | None) -> bool:
    try:
        Guard(api_key).check("GET", path, {b"authorization": authorization.encode("latin-1")})
    except ApiError as refusal:
        assert refusal.status == 401 and refusal.code == "invalid_api_key"
        return False
    return True


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


# Host names and web pages


def refusal(method: str = "POST", key: str | None = None, origins=(), hosts=(), **headers: str) -> str | None:
    """Why a call with these headers is refused; None where it is not."""
    sent = {name.replace("_", "-").encode(): text.encode("latin-1") for name, text in headers.items()}
    try:
        Guard(key, origins, hosts).check(method, "/v1/models", sent)
    except ApiError as error:
        assert error.status == 403
        return str(error)
    return None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:3928",
        "127.0.0.1:3928",
        "192.168.1.20",
        "[::1]:3928",
        "[fe80::1]",
        "",
    ],
)
def test_addresses_and_localhost_are_ours(host: str) -> None:
    assert refusal(host=host) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3928", "localhost.evil.example", "127.0.0.1.evil.example", "x\xff"]
)
def test_other_names_are_refused(host: str) -> None:
    """A page may let a name of its own point to this machine: its requests would count as ours."""
    assert "--allow-host" in (refusal(host=host) or "")
    assert refusal(method="OPTIONS", host=host)


@pytest.mark.parametrize("host", ["a:b:c", "localhost:65536", "[::1", "[::1]x", "a/b", "localhost:x", ":80", "a\tb"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ApiError, match="Host") as caught:
        Guard(hosts=("*",)).check("GET", "/health", {b"host": host.encode()})
    assert caught.value.status == 400


def test_advice_is_safe_in_a_shell() -> None:
    assert "--allow-host 'a;b'." in (refusal(host="a;b") or "")
    assert "--allow-origin 'http://a;b'." in (refusal(origin="http://a;b") or "")


def test_allowed_host_names() -> None:
    assert refusal(hosts=("Box.lan",), host="box.LAN:3928") is None
    assert refusal(hosts=("box.lan",), host="box2.lan")
    assert refusal(hosts=("*",), host="anything") is None
    assert refusal(hosts=("*.lan",), host="a.b.lan:1") is None
    assert refusal(hosts=("192.168.*",), host="192.168.evil.example")
    for host in ("lan", "a.lan.evil.example", "evil.example"):
        assert refusal(hosts=("*.lan",), host=host)


@pytest.mark.parametrize("text", ["", "http://box.lan", "box.lan:80", "a b", "a,b"])
def test_what_no_host_name_matches_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        Guard(hosts=(text,))


LOCAL = [
    "http://localhost",
    "http://localhost:5173",
    "https://127.0.0.1:8443",
    "http://[::1]:3000",
    "http://0.0.0.0:8080",
    "HTTP://LocalHost:1",
]
# As in Ollama's envconfig: the windows of desktop programs.
PROGRAMS = ["app://obsidian.md", "app://.", "file://", "tauri://localhost", "vscode-webview://0abc", "vscode-file://x"]
FOREIGN = [
    "https://evil.example",
    "http://localhost.evil.example",
    "null",
    "http://192.168.1.20:3000",
    "chrome-extension://abc",
    "moz-extension://abc",
    "safari-web-extension://abc",
    "myapp://localhost",
    "https://app",
]
NO_ORIGINS = ["http://localhost:80@evil.example", "http://localhost:x", "http://localhost/x", "localhost", "a b"]


@pytest.mark.parametrize("origin", [*LOCAL, *PROGRAMS])
def test_local_pages_and_programs_may_call(origin: str) -> None:
    assert refusal(origin=origin) is None


@pytest.mark.parametrize("origin", FOREIGN)
def test_other_pages_may_not(origin: str) -> None:
    assert "--allow-origin" in (refusal(origin=origin) or "")
    assert refusal(method="OPTIONS", origin=origin)
    assert refusal(origins=(origin,), origin=origin) is None
    assert refusal(origins=("*",), origin=origin) is None
    assert refusal(origins=("https://other.example",), origin=origin)


@pytest.mark.parametrize("origin", NO_ORIGINS)
def test_what_is_no_origin_may_not(origin: str) -> None:
    """And nobody is told to allow it."""
    why = refusal(origin=origin) or ""
    assert "is not allowed" in why and "--allow-origin" not in why
    with pytest.raises(ValueError, match="is no origin"):
        Guard(origins=(origin,))
    assert refusal(origins=("*",), origin=origin) is None


@pytest.mark.parametrize(
    "text", ["", "*.example.com", "https://", "https:/a", "https://a/b", "*://a", "https://a:b", "*:1", "a://b,c://d"]
)
def test_a_pattern_that_no_origin_matches_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        Guard(origins=(text,))


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("http://box:*", ["http://box:80", "http://BOX:65535"], ["http://box", "https://box:80", "http://box:x"]),
        (
            "https://*.example.com",
            ["https://a.example.com", "https://a.b.example.com"],
            ["https://example.com", "https://aexample.com", "https://a.example.com:8443", "https://a.example.com.evil"],
        ),
        (
            "https://*.example.com:*",
            ["https://a.example.com:8443"],
            ["https://a.example.com", "https://a.example.com:x"],
        ),
        (
            "http://192.168.*",
            ["http://192.168.1.2", "http://192.168.1.2:3000"],
            ["http://evil.192.168.1", "http://192", "http://192.168.evil.example", "http://192.168.1.evil.example:80"],
        ),
        ("http://10.*:3000", ["http://10.0.0.1:3000"], ["http://10.0.0.1", "http://10.evil.example:3000"]),
        ("https://app-*.example.com", ["https://app-1.example.com"], ["https://evil.com:1@app-1.example.com"]),
        ("chrome-extension://*", ["chrome-extension://abc"], ["moz-extension://abc", "chrome-extension://abc/x"]),
        ("https://*", ["https://evil.example", "https://a:1"], ["http://evil.example"]),
        ("https://a.example/", ["https://a.example"], ["https://aXexample"]),
        ("myapp://", ["myapp://"], ["myapp://x"]),
        ("null", ["null"], ["nulls"]),
    ],
)
def test_patterns_of_origins(pattern: str, matches: list[str], others: list[str]) -> None:
    assert [refusal(origins=(pattern,), origin=origin) for origin in matches] == [None] * len(matches)
    assert all(refusal(origins=(pattern,), origin=origin) for origin in others)
    told = Guard(origins=(pattern,)).cors("POST", {b"origin": matches[0].encode()})
    assert told[b"access-control-allow-origin"] == matches[0].encode()


@pytest.mark.parametrize("origin", FOREIGN)
def test_with_a_key_the_key_decides(origin: str) -> None:
    headers = {"origin": origin, "authorization": f"Bearer {KEY}"}
    assert refusal(key=KEY, **headers) is None
    with pytest.raises(AssertionError, match="401"):
        refusal(key=KEY, origin=origin)


def test_what_a_browser_is_told() -> None:
    guard = Guard(origins=("https://app.example",))
    assert guard.cors("POST", {}) == {}
    assert guard.cors("POST", {b"origin": b"https://evil.example"}) == {}
    told = guard.cors("POST", {b"origin": b"https://app.example"})
    assert told[b"access-control-allow-origin"] == b"https://app.example" and told[b"vary"] == b"Origin"
    assert b"x-request-id" in told[b"access-control-expose-headers"]
    asked = {b"origin": b"http://localhost:5173", b"access-control-request-headers": b"authorization,x-stainless-os"}
    told = guard.cors("OPTIONS", asked)
    assert told[b"access-control-allow-headers"] == b"authorization,x-stainless-os"
    assert b"POST" in told[b"access-control-allow-methods"]


def test_a_preflight_brings_no_key() -> None:
    Guard(KEY).check("OPTIONS", "/v1/models", {b"origin": b"https://app.example"})
