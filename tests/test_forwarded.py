"""Behind proxies: who is believed, who called, under which name, and a prefix of all paths."""

import re
import socket
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CEILING, RunningServer

from nitro.api.auth import Guard
from nitro.api.transport.forwarded import UNKNOWN, Caller, Proxies
from nitro.errors import ApiError

PROXY, CLIENT = "10.0.0.1", "203.0.113.9"
Sent = list[tuple[str, str]]


def scope(headers: Sent = (), peer: str | None = PROXY, scheme: str = "http") -> Any:  # type: ignore[assignment]
    return {
        "client": peer and (peer, 5000),
        "server": ("127.0.0.1", 3928) if peer else ("/run/nitro.sock", None),
        "scheme": scheme,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }


def caller(headers: Sent, peer: str | None = PROXY, trusted: str = "10.0.0.0/8,::1", **options: Any) -> Caller:
    return Proxies((trusted,) if trusted else (), options.pop("prefix", None)).caller(scope(headers, peer, **options))


def client(*headers: tuple[str, str], **options: Any) -> str:
    found = caller(list(headers), **options)
    assert found.fault is None, found.fault
    assert found.client
    return found.client[0]


FOR = "x-forwarded-for"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], PROXY),
        ([(FOR, CLIENT)], CLIENT),
        ([(FOR, f"127.0.0.1, {CLIENT}")], CLIENT),  # the client has written the first
        ([(FOR, f"{CLIENT}, 192.0.2.1")], "192.0.2.1"),
        ([(FOR, f"1.1.1.1, {CLIENT}, 10.9.9.9, 10.1.1.1")], CLIENT),  # proxies behind one another
        ([(FOR, "1.1.1.1"), (FOR, f"{CLIENT}, 10.1.1.1")], CLIENT),  # two lines are one list
        ([(FOR, "10.1.1.1, 10.2.2.2")], "10.1.1.1"),  # all are trusted: the farthest
        ([(FOR, f"{CLIENT}:4711")], CLIENT),
        ([(FOR, "[2001:db8::1]:4711")], "2001:db8::1"),
        ([(FOR, "2001:db8::1")], "2001:db8::1"),
        ([(FOR, "::ffff:203.0.113.9")], CLIENT),
        ([(FOR, f"{CLIENT}, ::ffff:10.0.0.7")], CLIENT),
        ([(FOR, f"{CLIENT}, unknown")], UNKNOWN),  # whoever that was, it was no proxy of ours
        ([(FOR, " , ,")], PROXY),
        ([("forwarded", f"for={CLIENT}")], CLIENT),
        ([("forwarded", f'for="{CLIENT}:4711";proto=https;by=10.0.0.1')], CLIENT),
        ([("forwarded", 'For="[2001:db8::1]:4711" , for=10.3.3.3')], "2001:db8::1"),
        ([("forwarded", f"for=1.1.1.1, for={CLIENT}")], CLIENT),
        ([("forwarded", f"for={CLIENT}, for=_hidden")], UNKNOWN),
        ([("forwarded", f"for={CLIENT}, for")], UNKNOWN),
        ([("forwarded", f"for={CLIENT}; ;x")], UNKNOWN),
        ([("forwarded", "proto=https")], PROXY),
        ([("forwarded", f'for="{CLIENT}"'), (FOR, f"{CLIENT}:80")], CLIENT),
        ([("x-real-ip", CLIENT)], PROXY),
    ],
)
def test_the_right_most_address_that_is_not_trusted(headers: Sent, found: str) -> None:
    assert client(*headers) == found


@pytest.mark.parametrize("headers", [[(FOR, CLIENT)], [("forwarded", f"for={CLIENT}")]])
@pytest.mark.parametrize(("peer", "trusted"), [("192.0.2.1", "10.0.0.0/8"), (PROXY, ""), (None, "0.0.0.0/0")])
def test_nobody_else_is_believed(headers: Sent, peer: str | None, trusted: str) -> None:
    headers = [*headers, ("x-forwarded-host", "x.example"), ("x-forwarded-prefix", "/x")]
    assert caller(headers, peer, trusted) == Caller((peer, 5000) if peer else None)


def test_who_may_be_a_proxy() -> None:
    assert client((FOR, CLIENT), trusted="10.0.0.1") == CLIENT
    assert client((FOR, CLIENT), peer="::ffff:10.0.0.1") == CLIENT
    assert client((FOR, CLIENT), peer="fe80::1%eth0", trusted="fe80::/10") == CLIENT
    assert client((FOR, CLIENT), peer=None, trusted="unix") == CLIENT
    for text in ("proxy.lan", "10.0.0.1/33", "", "*"):
        with pytest.raises(ValueError, match="--trust-proxy"):
            Proxies((text,))


@pytest.mark.parametrize(
    "headers",
    [
        [("forwarded", "for=127.0.0.1"), (FOR, CLIENT)],
        [("forwarded", "nonsense"), (FOR, CLIENT)],
        [("forwarded", f"for={CLIENT};host=a.example"), ("x-forwarded-host", "localhost")],
        [("forwarded", f"for={CLIENT};proto=http"), ("x-forwarded-proto", "https")],
    ],
)
def test_two_kinds_that_contradict_one_another_are_refused(headers: Sent) -> None:
    """A proxy writes one, and lets the other pass: whose is which nobody can tell."""
    with pytest.raises(ApiError, match="different") as caught:
        caller(headers).check()
    assert caught.value.status == 400


def test_how_the_client_called() -> None:
    told = [(FOR, f"{CLIENT}, 10.1.1.1"), ("x-forwarded-proto", "https, http"), ("x-forwarded-host", "a.example")]
    found = caller(told)
    assert (found.scheme, found.host) == ("https", b"a.example")
    found = caller([("forwarded", f'for=1.1.1.1;proto=http, for={CLIENT};proto=HTTPS;host="a.example:8443"')])
    assert (found.scheme, found.host) == ("https", b"a.example:8443")
    assert caller([("x-forwarded-proto", "gopher")]).scheme is None
    assert caller([], peer="192.0.2.1", scheme="https").scheme == "https"
    assert caller([], peer="192.0.2.1").scheme is None, "a proxy that we do not know may have taken TLS off"


@given(
    hops=st.lists(st.sampled_from(["1.1.1.1", CLIENT, "10.1.1.1", "10.2.2.2", "unknown", "x y", "::1"]), max_size=6),
    last=st.sampled_from([CLIENT, "192.0.2.1", "2001:db8::1"]),
    behind=st.lists(st.sampled_from(["10.1.1.1", "::1"]), max_size=3),
    kind=st.booleans(),
)
def test_what_a_client_writes_itself_changes_nothing(hops: list[str], last: str, behind: list[str], kind: bool) -> None:
    """The proxies append to whatever it has sent."""
    if kind:
        assert client((FOR, ", ".join([*hops, last, *behind]))) == last
    else:
        elements = [f'for="{hop}"' for hop in [*hops, last, *behind]]
        assert client(("forwarded", ", ".join(elements))) == last


@given(st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=300))
def test_no_header_is_a_fault_of_ours(text: str) -> None:
    for name in (FOR, "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix"):
        found = caller([(name, text)])
        assert found.client and (found.host is None or len(found.host) <= 300)
        assert re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", found.prefix)


def test_a_long_header_costs_no_more_than_its_length() -> None:
    for text in ('for="' + "\\" * 8000, "for=a;" * 1300, "," * 8000, "a=" * 4000, " " * 8000 + "x"):
        assert client(("forwarded", text)) in (UNKNOWN, PROXY)


# The prefix


@pytest.mark.parametrize("given", ["/nitro", "nitro", "/nitro/"])
def test_a_prefix_comes_off(given: str) -> None:
    found = Proxies((), given).caller(scope())
    assert found.prefix == "/nitro"
    assert [found.inner(path) for path in ("/nitro/v1/models", "/v1/models", "//nitro//v1", "/nitrox", "/nitro")] == [
        "/v1/models",
        "/v1/models",
        "/v1",
        "/nitrox",
        "",
    ]
    assert found.is_bare_prefix("/nitro") and not found.is_bare_prefix("/nitro/")


def test_a_proxy_may_tell_the_prefix() -> None:
    assert caller([("x-forwarded-prefix", "/a/b/")]).prefix == "/a/b"
    assert caller([("x-forwarded-prefix", "/a")], prefix="/b").prefix == "/a"
    assert caller([("x-forwarded-prefix", "/")], prefix="/b").prefix == ""
    for text in ("//evil.example", "/a b", "/a/../b?", "https://evil.example"):
        with pytest.raises(ApiError, match="X-Forwarded-Prefix"):
            caller([("x-forwarded-prefix", text)]).check()


# Real servers


@pytest.fixture(scope="module")
def behind() -> Any:
    from running import FAKE

    from nitro.config import ServeConfig

    config = ServeConfig(
        engine=FAKE, port=0, trust_proxy=("127.0.0.1",), root_path="/nitro", allow_host=("llm.example",)
    )
    with RunningServer(config) as server:
        yield server.ready()


def get(server: RunningServer, path: str, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{server.url}{path}", headers=sent, timeout=CEILING)


def test_the_log_names_the_client(behind: RunningServer) -> None:
    assert get(behind, "/nowhere", x_forwarded_for=f"127.0.0.1, {CLIENT}").status_code == 404
    assert behind.log_line().endswith(f"(GET /nowhere from {CLIENT})")
    assert get(behind, "/v1/models", x_forwarded_for=CLIENT, forwarded="for=127.0.0.1").status_code == 400
    assert behind.log_line()


def test_nobody_behind_a_proxy_is_on_this_machine(behind: RunningServer) -> None:
    """Also who says so, and with any header of a proxy."""
    url = f"{behind.url}/v1/server/requests/none/abort"
    assert httpx.post(url).status_code == 404
    for name in (FOR, "forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix", "x-real-ip", "via"):
        value = {"forwarded": "for=127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-prefix": "/a"}.get(name)
        assert httpx.post(url, headers={name: value or "127.0.0.1"}).status_code == 403, name
        behind.log_line()
    behind.log_line()


def test_both_names_must_be_known(behind: RunningServer) -> None:
    """A page of another site could set X-Forwarded-Host, and cannot set Host."""
    assert get(behind, "/v1/models", x_forwarded_host="llm.example").status_code == 200
    assert get(behind, "/v1/models", x_forwarded_host="evil.example").status_code == 403
    assert get(behind, "/v1/models", host="evil.example", x_forwarded_host="llm.example").status_code == 403
    assert get(behind, "/v1/models", x_forwarded_host="a/b").status_code == 400


def test_the_page_of_the_forwarded_name_is_ours(behind: RunningServer) -> None:
    headers = {"x_forwarded_host": "llm.example", "x_forwarded_proto": "https"}
    reply = get(behind, "/v1/models", origin="https://llm.example", **headers)
    assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == "https://llm.example"
    assert get(behind, "/v1/models", origin="http://llm.example", **headers).status_code == 403


def test_everything_lies_below_the_prefix_too(behind: RunningServer) -> None:
    for path in ("/nitro/v1/models", "/v1/models", "/nitro/models", "/nitro/health"):
        assert get(behind, path).status_code == 200
    assert get(behind, "/nitro", accept="text/html").headers["location"] == "/nitro/"
    page = get(behind, "/nitro/", accept="text/html")
    assert page.status_code == 200
    script = re.search(r'src="\./(page/[^"]+)"', page.text)
    assert script and get(behind, f"/nitro/{script[1]}").headers["content-type"].startswith("text/javascript")
    assert get(behind, "/nitro").text == get(behind, "/").text == "Ollama is running"
    assert get(behind, "/nitro/schema").json()["servers"] == [{"url": "/nitro"}]
    assert get(behind, "/schema", x_forwarded_prefix="/a/b").json()["servers"] == [{"url": "/a/b"}]


def test_without_a_prefix_the_document_names_no_place(fake_server: RunningServer) -> None:
    assert "servers" not in get(fake_server, "/schema", x_forwarded_prefix="/a").json()


def test_the_scheme_of_an_origin() -> None:
    """Where it is known a page without TLS is no page of ours."""
    origin = {b"host": b"llm.example", b"origin": b"http://llm.example"}
    guard = Guard(hosts=("llm.example",))
    guard.check("GET", "/v1/models", origin)
    guard.check("GET", "/v1/models", origin, "http")
    with pytest.raises(ApiError, match="Origin"):
        guard.check("GET", "/v1/models", origin, "https")
    assert guard.cors("GET", origin, "https") == {}


# Headers of every reply

REQUESTS = {
    "an answer": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "text": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "no route": b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a wrong method": b"PUT /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a preflight": b"OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a refusal": b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    "the page": b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
    "no file of the page": b"GET /page/x.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "no HTTP": b"nonsense\r\n\r\n",
    "a head that is too long": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_reply_tells_browsers_to_run_nothing(fake_server: RunningServer, kind: str) -> None:
    with socket.create_connection(("127.0.0.1", fake_server.server.port), CEILING) as raw:
        raw.sendall(REQUESTS[kind])
        came = b""
        while data := raw.recv(65536):
            came += data
    head = came.partition(b"\r\n\r\n")[0].decode().lower()
    names = [line.partition(":")[0] for line in head.split("\r\n")[1:]]
    assert "x-content-type-options: nosniff" in head
    assert "default-src 'none'" in head and ("script-src 'self'" in head) == (kind == "the page")
    assert names.count("content-security-policy") == names.count("x-content-type-options") == 1
    assert "server" not in names and "uvicorn" not in head
