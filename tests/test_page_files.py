"""What the server gives to a browser: the page, its files, and what they may do."""

import gzip
import re

import httpx
import pytest

from nitro.api.auth import Guard
from nitro.api.page import FOR_GOOD
from nitro.errors import ApiError

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "accept-encoding": "identity"}


def get(url: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(url + path, headers={**BROWSER, **headers})


def test_a_browser_gets_the_page_and_all_others_what_they_got(fake_server) -> None:
    page = get(fake_server.url, "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8" and "<title>Nitro</title>" in page.text
    assert page.headers["cache-control"] == "no-cache" and "Accept" in page.headers["vary"]
    for accept in ("*/*", "application/json", ""):
        other = httpx.get(fake_server.url, headers={"accept": accept})
        assert other.text == "Ollama is running" and other.headers["content-type"].startswith("text/plain")
        assert "Accept" in other.headers["vary"], "a cache between keeps them apart"


def test_every_file_that_the_page_names_is_there_for_good(fake_server) -> None:
    names = re.findall(r'(?:src|href)="\./(page/[^"]+)"', get(fake_server.url, "/").text)
    assert len(names) >= 3
    for name in names:
        reply = get(fake_server.url, f"/{name}")
        assert reply.status_code == 200 and reply.headers["cache-control"] == FOR_GOOD
        again = get(fake_server.url, f"/{name}", **{"if-none-match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        packed = get(fake_server.url, f"/{name}", **{"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip" and packed.content == reply.content
        assert int(packed.headers["content-length"]) == len(gzip.compress(reply.content, mtime=0))
    lost = get(fake_server.url, "/page/nothing.js")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "unknown_url")
    assert get(fake_server.url, "/page/index.html").status_code == 404


def test_nothing_in_the_page_may_run_but_its_own_files(fake_server) -> None:
    reply = get(fake_server.url, "/")
    rules = dict(rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=", reply.text)


def test_the_page_needs_no_key_and_everything_else_does(serve) -> None:
    server = serve(api_key="secret")
    assert get(server.url, "/").status_code == 200
    (script,) = re.findall(r'src="\./(page/[^"]+)"', get(server.url, "/").text)
    assert get(server.url, f"/{script}").status_code == 200
    assert httpx.get(server.url).status_code == 401
    for path in ("/v1/models", "/metrics", "/schema", "/page", "/page/../v1/models"):
        assert get(server.url, path).status_code in (401, 404), path
    assert httpx.get(f"{server.url}/v1/models", headers={"accept": "text/html"}).status_code == 401


@pytest.mark.parametrize("origin", ["http://192.168.1.20:3928", "https://192.168.1.20:3928"])
def test_the_page_may_call_by_the_address_that_it_came_from(origin: str) -> None:
    headers = {b"host": b"192.168.1.20:3928", b"origin": origin.encode()}
    Guard().check("POST", "/v1/chat/completions", headers)
    assert Guard().cors("POST", headers)[b"access-control-allow-origin"] == origin.encode()


@pytest.mark.parametrize(
    "origin", ["http://192.168.1.20", "http://192.168.1.20:8000", "http://192.168.1.2:3928", "null"]
)
def test_pages_of_other_addresses_may_not(origin: str) -> None:
    headers = {b"host": b"192.168.1.20:3928", b"origin": origin.encode()}
    with pytest.raises(ApiError, match="Origin"):
        Guard().check("POST", "/v1/chat/completions", headers)
    with pytest.raises(ApiError, match="Host"):
        Guard().check("POST", "/v1/models", {b"host": b"evil.example", b"origin": b"http://evil.example"})
