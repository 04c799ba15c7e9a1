"""Browsers, keys, sizes and ids, over real HTTP."""

import socket

import httpx
import openai
import pytest
from running import CEILING, RunningServer, raw_request

from nitro.api import other_routes
from nitro.errors import StartError

MESSAGES = [{"role": "user", "content": "Hello"}]
PAGE = "http://localhost:5173"


def preflight(url: str, origin: str, path: str = "/v1/chat/completions") -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    return httpx.options(url + path, headers=headers)


def test_a_local_page(fake_server: RunningServer) -> None:
    """What a browser does: it asks first, then calls; the answer is for that page."""
    asked = preflight(fake_server.url, PAGE)
    assert asked.status_code == 204 and asked.content == b""
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert asked.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in asked.headers["access-control-allow-methods"]
    body = {"messages": MESSAGES, "max_tokens": 2}
    for stream in (False, True):
        url = f"{fake_server.url}/v1/chat/completions"
        reply = httpx.post(url, json={**body, "stream": stream}, headers={"Origin": PAGE})
        assert reply.status_code == 200 and reply.headers["access-control-allow-origin"] == PAGE
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_a_foreign_page(fake_server: RunningServer) -> None:
    for reply in (
        preflight(fake_server.url, "https://evil.example"),
        httpx.post(
            f"{fake_server.url}/v1/chat/completions",
            json={"messages": MESSAGES},
            headers={"Origin": "https://evil.example"},
        ),
    ):
        assert reply.status_code == 403 and "access-control-allow-origin" not in reply.headers
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error" and "--allow-origin https://evil.example" in error["message"]
        assert reply.headers["x-request-id"].startswith("req_")


def test_an_error_can_be_read_by_the_page(fake_server: RunningServer) -> None:
    reply = httpx.post(f"{fake_server.url}/v1/chat/completions", json={"n": 0}, headers={"Origin": PAGE})
    assert reply.status_code == 400 and reply.headers["access-control-allow-origin"] == PAGE


def test_allowed_pages_and_names(serve) -> None:
    server = serve(allow_origin=("https://app.example",), allow_host=("box.lan",)).ready()
    assert preflight(server.url, "https://app.example").status_code == 204
    assert httpx.get(f"{server.url}/health", headers={"Host": "box.lan"}).status_code == 200
    assert httpx.get(f"{server.url}/health", headers={"Host": "evil.example"}).status_code == 403


ALLOWED = {
    "/": "GET, HEAD, OPTIONS",
    "/v1/nowhere": "OPTIONS",
    "/chat/completions": "OPTIONS, POST",
    "/v1/models": "GET, HEAD, OPTIONS",
    "/v1/models/x/y": "GET, HEAD, OPTIONS",
    "/health": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_what_a_path_allows(fake_server: RunningServer, path: str) -> None:
    reply = httpx.options(fake_server.url + path)
    assert (reply.status_code, reply.headers["allow"]) == (204, ALLOWED[path])
    wrong = httpx.delete(fake_server.url + path)
    if ALLOWED[path] == "OPTIONS":
        assert wrong.status_code == 404
    else:
        assert (wrong.status_code, wrong.headers.get_list("allow")) == (405, [ALLOWED[path]])


def test_head_is_get_without_its_body(fake_server: RunningServer) -> None:
    with httpx.Client(base_url=fake_server.url) as client:
        for path in ("/", "/health", "/healthz", "/v1/models", "/models/FakeRunner", "/metrics", "/schema", "/nowhere"):
            got, head = client.get(path), client.head(path)
            assert head.status_code == got.status_code and head.content == b"", path
            assert head.headers["content-type"] == got.headers["content-type"]
            if path != "/metrics" and got.status_code == 200:
                assert head.headers["content-length"] == got.headers["content-length"]
        assert client.head("/v1/chat/completions").status_code == 405
        assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "host", ["localhost:65536", "localhost:99999999999", "127.0.0.1:x", "a b", "[::1", "u@localhost"]
)
@pytest.mark.parametrize("path", ["/health", "/v1/nowhere", "/v1/models"])
def test_a_host_that_is_none(fake_server: RunningServer, path: str, host: str) -> None:
    reply = httpx.get(fake_server.url + path, headers={"Host": host})
    assert reply.status_code == 400 and "Host" in reply.json()["error"]["message"]


@pytest.mark.parametrize("key", ["klíč-世", "s e c", "\udcff\udcfe"])
def test_a_key_of_any_letters(serve, key: str) -> None:
    """Of bytes that are no UTF-8, too: as they come from the command line."""
    server = serve(api_key=key)
    sent = key.encode(errors="surrogateescape")
    for given, status in ((sent, 200), (sent + b"x", 401), (b"\xff", 401)):
        reply = httpx.get(f"{server.url}/v1/models", headers={b"Authorization": b"Bearer " + given})
        assert reply.status_code == status


def test_a_key(serve) -> None:
    server = serve(api_key="secret").ready()
    with pytest.raises(openai.AuthenticationError) as caught:
        server.client(api_key="wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["www-authenticate"] == "Bearer"
    assert server.client(api_key="secret").models.list().data
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    foreign = {"Origin": "https://app.example"}
    assert preflight(server.url, foreign["Origin"]).status_code == 204, "the key decides"
    assert httpx.get(f"{server.url}/v1/models", headers=foreign).status_code == 401
    told = httpx.get(f"{server.url}/v1/models", headers={**foreign, "Authorization": "Bearer secret"})
    assert told.status_code == 200 and told.headers["access-control-allow-origin"] == foreign["Origin"]


def test_a_body_that_is_too_large(fake_server: RunningServer) -> None:
    """Refused by its length, before it is sent."""
    with raw_request(fake_server.url, b"{", declared=32 * 2**20 + 1) as sock:
        sock.settimeout(CEILING)
        assert b" 413 " in sock.recv(1000)
    assert fake_server.client().models.list().data


def test_every_answer_has_an_id_of_its_own(fake_server: RunningServer) -> None:
    ids = {httpx.get(fake_server.url + path).headers["x-request-id"] for path in ("/health", "/nowhere", "/v1/models")}
    assert len(ids) == 3 and all(id.startswith("req_") for id in ids)


def test_idle_connections_stay_open_longer_than_clients_keep_them(fake_server: RunningServer) -> None:
    """Or a request is sent just as the server closes."""
    kept = httpx.Limits().keepalive_expiry
    assert kept and fake_server.server._http.config.timeout_keep_alive > 10 * kept


# What is refused says so in the log


def line_of(server: RunningServer, text: str) -> str:
    """The next line of the request log that has this text."""
    while text not in (line := server.log_line()):
        pass
    return line


def test_a_refused_call_leaves_a_line(serve) -> None:
    server = serve(api_key="secret", max_body=1).ready()
    key = {"Authorization": "Bearer secret"}
    calls = [
        (401, "GET", "/v1/models", {}, b""),
        (403, "GET", "/health", {"Host": "evil.example"}, b""),
        (404, "GET", "/nowhere", key, b""),
        (404, "GET", "/v1/models/other", key, b""),
        (405, "DELETE", "/v1/models", key, b""),
        (413, "POST", "/v1/chat/completions", key, b"x" * (2**20 + 1)),
    ]
    for status, method, path, headers, body in calls:
        reply = httpx.request(method, server.url + path, headers=headers, content=body)
        assert reply.status_code == status
        line = line_of(server, f"error {status}: ")
        assert line.startswith(f"{reply.headers['x-request-id']} - ") and f"({method} {path} from 127.0.0.1)" in line
        assert reply.json()["error"]["message"] in line


def test_a_refusal_of_a_generation_is_one_line(serve) -> None:
    """Its own, and no second one."""
    server = serve().ready()
    httpx.post(f"{server.url}/v1/chat/completions", json={"n": 0})
    httpx.get(f"{server.url}/nowhere")
    assert "error 400" in server.log_line() and "error 404" in server.log_line()


def test_a_path_makes_no_line_of_its_own(serve) -> None:
    server = serve().ready()
    for path in ("/a%0AINFO:%20all%20is%20well", "/a%1b[2J", f"/{'x' * 8000}"):
        assert httpx.get(server.url + path).status_code == 404
        line = server.log_line()
        assert line.isprintable() and len(line) < 2000


def test_what_is_no_http_leaves_a_line(serve) -> None:
    server = serve().ready()
    with socket.create_connection(("127.0.0.1", server.server.port)) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert "error 400: This is not HTTP" in server.log_line()


# Routes of other servers


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/embedding", "llama-server's own API. Use POST /v1/embeddings."),
        ("POST", "/completion", "llama-server's own API. Use POST /v1/completions."),
        ("GET", "/props", "Use GET /v1/models."),
        ("POST", "/v1/audio/load_model", "POST /v1/audio/transcriptions and /v1/audio/translations are here."),
        ("POST", "/v1/images/generations", "does not have images"),
        ("POST", "/v1/classify", "does not have classification"),
        ("POST", "/inferences/server/finetuning", "that route of the first Nitro's API"),
        ("POST", "/v1/v1/audio/speech", "does not have spoken answers"),
        ("GET", "/v1", "GET /v1/models"),
        ("POST", "/api/v1/chat/completions", "Did you mean /v1/chat/completions? A base URL ends with /v1."),
        ("POST", "/v1/chat/completions/chat/completions", "Did you mean /v1/chat/completions?"),
        ("GET", "/v1/health", "Did you mean /health?"),
    ],
)
def test_a_route_that_others_have(fake_server: RunningServer, method: str, path: str, words: str) -> None:
    reply = httpx.request(method, fake_server.url + path)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (404, "unknown_url") and words in error["message"]


def test_a_route_of_ollamas_that_is_not_here_is_refused_in_its_form(fake_server: RunningServer) -> None:
    reply = httpx.post(f"{fake_server.url}/api/anything/else")
    assert reply.status_code == 404 and "that route of Ollama's API" in reply.json()["error"]


def test_nothing_is_said_of_a_route_that_nobody_has(fake_server: RunningServer) -> None:
    for path in ("/nowhere", "/v1/apis", "/v1/filesystem"):
        assert httpx.get(fake_server.url + path).json()["error"]["message"] == f"Invalid URL (GET {path})"


def test_no_route_of_ours_is_among_them(fake_server: RunningServer) -> None:
    for route, _, _ in other_routes.ROUTES:
        for path in (route, f"/v1{route}"):
            assert httpx.options(fake_server.url + path).headers["allow"] == "OPTIONS", path


def test_v1_twice_is_forgiven(fake_server: RunningServer) -> None:
    for path in ("/v1/v1/models", "/v1/v1/v1/models", "//v1//v1/models"):
        assert httpx.get(fake_server.url + path).status_code == 200
    client = fake_server.client(base_url=f"{fake_server.url}/v1/v1")
    assert client.chat.completions.create(model="", messages=MESSAGES, max_tokens=1).choices


# Windows of programs, and patterns


def test_programs_and_patterns(serve) -> None:
    server = serve(allow_origin=("chrome-extension://*",), allow_host=("*.lan",)).ready()
    for origin in ("app://obsidian.md", "file://", "tauri://localhost", "chrome-extension://abc"):
        assert preflight(server.url, origin).headers["access-control-allow-origin"] == origin
    for origin in ("null", "moz-extension://abc"):
        assert preflight(server.url, origin).status_code == 403
    assert httpx.get(f"{server.url}/health", headers={"Host": "box.lan"}).status_code == 200


@pytest.mark.parametrize("given", [{"allow_origin": ("example.com",)}, {"allow_host": ("http://a",)}])
def test_a_pattern_that_matches_nothing_is_refused_at_the_start(serve, given: dict) -> None:
    ((flag, (text,)),) = given.items()
    with pytest.raises(StartError, match=f"--{flag.replace('_', '-')} '{text}' is no "):
        serve(**given)
