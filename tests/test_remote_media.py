"""Files behind addresses: fetched only where that is allowed, from the public internet alone, and within limits."""

import asyncio
import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from pictures import picture
from running import CEILING, RunningServer

from nitro.config import ServeConfig
from nitro.errors import ApiError
from nitro.service.media import remote
from nitro.service.media.limits import MediaLimits

PNG = picture()
LARGE = bytes(5000)
LIMITS = MediaLimits(bytes=4000, remote=True, fetch_seconds=int(CEILING))
SEER = "nitro.engines.backends.fake:FakeSeer"


class _Site(BaseHTTPRequestHandler):
    never = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/never":
            self.never.wait(CEILING)
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path == "/round":
            self.send_response(307)
            self.send_header("Location", "/round")
            self.end_headers()
            return
        data = {"/picture": PNG, "/large": LARGE}.get(self.path)
        self.send_response(404 if data is None else 200)
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        _Site.never.set()
        server.shutdown()
        thread.join(CEILING)


def here(address: remote.Address) -> bool:
    """127.0.0.1 stands for the public internet; all else is private."""
    return str(address) == "127.0.0.1"


def fetch(*urls: str, limits: MediaLimits = LIMITS, allowed: Any = here) -> dict[str, bytes]:
    return asyncio.run(remote.fetch({url: f"p[{i}]" for i, url in enumerate(urls)}, limits, allowed))


def refused(*urls: str, **options: Any) -> str:
    with pytest.raises(ApiError) as caught:
        fetch(*urls, **options)
    assert (caught.value.status, (caught.value.param or "")[:2]) == (400, "p[")
    return str(caught.value)


def test_files_and_redirects(site: str) -> None:
    urls = [f"{site}/picture", f"{site}/to//picture", f"{site}/to/{site}/to//picture"]
    assert fetch(*urls) == dict.fromkeys(urls, PNG)


def test_a_redirect_to_a_private_address_is_not_followed(site: str) -> None:
    port = site.rpartition(":")[2]
    for target in (f"http://127.0.0.2:{port}/picture", f"http://localhost.:{port}/picture", f"//[::1]:{port}/picture"):
        message = refused(f"{site}/to/{target}")
        assert "no host of the public internet" in message or "there is no host" in message
    assert "another kind" in refused(f"{site}/to/file:///etc/passwd")
    assert "names a user" in refused(f"{site}/to/http://a:b@127.0.0.1:{port}/picture")


def test_limits(site: str) -> None:
    assert "larger than 4000 bytes" in refused(f"{site}/large")
    assert "redirects more than" in refused(f"{site}/round")
    assert "status 404" in refused(f"{site}/nothing")
    together = MediaLimits(bytes=4000, fetched_bytes=len(PNG))
    assert "together" in refused(f"{site}/picture", f"{site}/picture?", f"{site}/to//picture", limits=together)
    assert "within 1 seconds" in refused(f"{site}/never", limits=MediaLimits(fetch_seconds=1))


@pytest.mark.parametrize(
    "address, public",
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert remote.is_public(ipaddress.ip_address(address)) is public


def test_a_server_that_fetches_nothing_says_so(site: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": f"{site}/picture"}}, {"type": "text", "text": "a"}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2}
    for allowed, words in ((False, "--allow-remote-media"), (True, "no host of the public internet")):
        config = ServeConfig(engine=SEER, port=0, no_state=True, allow_remote_media=allowed)
        with RunningServer(config) as server:
            server.ready()
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=CEILING)
            assert reply.status_code == 400
            assert reply.json()["error"]["param"] == "messages[0].content[0].image_url"
            assert words in reply.json()["error"]["message"]


def test_what_is_fetched_is_in_the_prompt(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_public", here)
    url = f"{site}/to//picture"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "a"}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2}
    with RunningServer(ServeConfig(engine=SEER, port=0, allow_remote_media=True, no_state=True)) as server:
        server.ready()
        reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=CEILING)
        assert reply.json()["usage"]["prompt_tokens_details"]["image_tokens"] == len(PNG) // 16 + 3
