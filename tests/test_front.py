"""Browsers, keys, sizes and ids, over real HTTP."""

import httpx
import openai
import pytest
from running import CEILING, RunningServer, raw_request

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


def test_options_of_any_path(fake_server: RunningServer) -> None:
    for path in ("/", "/v1/nowhere", "/chat/completions"):
        reply = httpx.options(fake_server.url + path)
        assert reply.status_code == 204 and "GET" in reply.headers["allow"]


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
    with raw_request(fake_server.url, b"{", declared=257 * 2**20) as sock:
        sock.settimeout(CEILING)
        assert b" 413 " in sock.recv(1000)
    assert fake_server.client().models.list().data


def test_every_answer_has_an_id_of_its_own(fake_server: RunningServer) -> None:
    ids = {httpx.get(fake_server.url + path).headers["x-request-id"] for path in ("/health", "/nowhere", "/v1/models")}
    assert len(ids) == 3 and all(id.startswith("req_") for id in ids)


def test_idle_connections_stay_open_longer_than_clients_keep_them(fake_server: RunningServer) -> None:
    """Or a request is sent just as the server closes."""
    kept = httpx.Limits().keepalive_expiry
    assert kept and fake_server.server._uvicorn.config.timeout_keep_alive > 10 * kept
