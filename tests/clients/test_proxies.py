"""nginx and Caddy in front of Nitro, with the files of packaging/ but for addresses and certificates, over TLS.

What is not tried: how long they wait for a reply that says nothing, an hour in both files or for ever.
"""

import grp
import json
import os
import pwd
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import debian
import httpx
import pytest
from runners import Gate
from running import CEILING, RunningServer

from nitro.system.held_port import held_port

pytestmark = pytest.mark.clients

PACKAGING = Path(__file__).parents[2] / "packaging"
NAME = "llm.example.org"
NGINX = """daemon off; user {user}; pid {folder}/pid; error_log stderr warn;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
{site} }}"""
CADDY = "{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}}\n{site}"


def certificate(folder: Path) -> None:
    """cert.pem and key.pem, for NAME."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    names = ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command, *names], cwd=folder, check=True, capture_output=True)


def user() -> str:
    """The test's own, and its group, as nginx's `user` takes them."""
    return f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """Its workers run as the test does: root's would be nobody's, who may not enter the folder of a Unix socket."""
    site = (PACKAGING / "nginx.conf").read_text()
    for ours, theirs in {
        "127.0.0.1:3928": upstream,
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        f"/etc/ssl/{NAME}.pem": f"{folder}/cert.pem",
        f"/etc/ssl/{NAME}.key": f"{folder}/key.pem",
    }.items():
        assert site.count(ours) == 1
        site = site.replace(ours, theirs)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=site, user=user()))
    program = str(debian.program("nginx", "usr/sbin/nginx"))
    return [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    site = (PACKAGING / "Caddyfile").read_text()
    assert site.count("127.0.0.1:3928") == site.count(f"\n{NAME} {{") == 1
    site = site.replace("127.0.0.1:3928", upstream)
    site = site.replace(f"\n{NAME} {{", f"\nhttps://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls cert.pem key.pem")
    (folder / "Caddyfile").write_text(CADDY.format(site=site))
    return [str(debian.program("caddy", "usr/bin/caddy")), "run", "--config", "Caddyfile"]


PROXIES = {"nginx": nginx, "caddy": caddy}


class Proxied:
    """Nitro behind a proxy: the server, the gate of its engine, and a client of the proxy."""

    def __init__(self, server: RunningServer, gate: Gate, client: httpx.Client):
        self.server, self.gate, self.client = server, gate, client


@contextmanager
def started(command: list[str], folder: Path, port: int, variables: dict[str, str] | None = None) -> Iterator[None]:
    """The proxy, once it listens."""
    env = {**os.environ, "HOME": str(folder), **(variables or {})}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), CEILING).close()
                    break
                except ConnectionRefusedError:
                    continue
            else:
                raise AssertionError(process.stderr.read())
            yield
        finally:
            process.terminate()
            process.communicate()


@contextmanager
def before(proxy: str, upstream: str, folder: Path) -> Iterator[httpx.Client]:
    """A client of a proxy before that server. It calls from 127.0.0.2."""
    certificate(folder)
    trusted = ssl.create_default_context(cafile=folder / "cert.pem")
    transport = httpx.HTTPTransport(verify=trusted, local_address="127.0.0.2")
    with httpx.Client(transport=transport, timeout=CEILING) as client, held_port() as port:
        client.base_url = f"https://127.0.0.1:{port}"
        client.headers["host"] = NAME
        with started(PROXIES[proxy](folder, port, upstream), folder, port):
            yield client


@pytest.fixture(params=PROXIES)
def proxied(
    request: pytest.FixtureRequest, serve: Callable[..., RunningServer], gate: Gate, tmp_path: Path
) -> Iterator[Proxied]:
    options = {"engine": "runners:GatedRunner", "model": gate.path, "allow_host": (NAME,)}
    server = serve(**options, trust_proxy=("127.0.0.1",))
    gate.accept()
    server.ready()
    with before(request.param, server.url.removeprefix("http://"), tmp_path) as client:
        yield Proxied(server, gate, client)
        gate.open()


def lines(reply: httpx.Response) -> Iterator[str]:
    return (line for line in reply.iter_lines() if line and not line.startswith(":"))


def send(proxied: Proxied, path: str, method: str = "POST", **options: Any) -> Any:
    """As a stream: nothing waits for the end of the reply."""
    return proxied.client.stream(method, path, extensions={"sni_hostname": NAME}, **options)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
def test_each_token_comes_at_once(proxied: Proxied, path: str) -> None:
    """While the engine is held inside its next step: neither proxy waits for more of the stream."""
    body = {"model": "", "messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 50}
    with send(proxied, path, json=body) as reply:
        told, seen = lines(reply), ""
        for _ in range(3):
            proxied.gate.step()
            proxied.gate.wait_inside()  # and stays there
            seen += next(told)
            proxied.gate.let_go()
    assert seen.count("content") >= 2
    proxied.gate.open()


def test_a_client_that_leaves_ends_its_work(proxied: Proxied) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
    with send(proxied, "/v1/chat/completions", json=body) as reply:
        proxied.gate.step()
        next(lines(reply))
        proxied.gate.wait_inside()
    # the engine is still held: the proxy has let go without a word from it
    assert "client=left" in proxied.server.log_line()


def test_a_client_that_leaves_before_a_whole_reply(proxied: Proxied) -> None:
    """Nothing has come of it yet."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
    url = proxied.client.base_url
    trusted = ssl.create_default_context()
    trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection((url.host, url.port), CEILING)
    with trusted.wrap_socket(raw, server_hostname=NAME) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        proxied.gate.wait_inside()
    assert "client=left" in proxied.server.log_line()


def test_what_does_not_fit_is_refused(proxied: Proxied) -> None:
    with send(proxied, "/v1/chat/completions", content=b" " * (33 * 2**20)) as reply:
        assert reply.status_code == 413


def test_clients_of_a_proxy_are_not_on_this_machine(proxied: Proxied) -> None:
    """Who stops the server without a key must be."""
    with send(proxied, "/processmanager/destroy", "DELETE") as reply:
        assert reply.status_code in (401, 403)
    with send(proxied, "/v1/models", "GET") as reply:
        assert reply.status_code == 200


# What a client may say of itself, and what of it counts.
FORGED = {
    "x-forwarded-for": "127.0.0.1",
    "forwarded": "for=127.0.0.1",
    "x-forwarded-prefix": "/x",
    "x-forwarded-host": "localhost",
    "x-forwarded-proto": "http",
}


def test_the_server_knows_who_calls(proxied: Proxied) -> None:
    """It gets the address from the proxy, and nothing that the client says of itself."""
    with send(proxied, "/nowhere", "GET", headers=FORGED) as reply:
        assert reply.status_code == 404
    assert proxied.server.log_line().endswith("from 127.0.0.2)")
    with send(proxied, "/schema", "GET", headers=FORGED) as reply:
        assert "servers" not in json.loads(reply.read())
    with send(proxied, "/v1/models", "GET", headers={"origin": f"https://{NAME}", **FORGED}) as reply:
        assert reply.status_code == 200, "the page's own calls"


@pytest.mark.parametrize("proxy", PROXIES)
def test_over_a_unix_socket(proxy: str, serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    path = tmp_path / "nitro.sock"
    server = serve(uds=path, uds_mode="666", allow_host=(NAME,), trust_proxy=("unix",)).ready()
    upstream = {"nginx": f"unix:{path}", "caddy": f"unix/{path}"}[proxy]
    with before(proxy, upstream, tmp_path) as client:
        body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": 5}
        with client.stream("POST", "/v1/chat/completions", json=body, extensions={"sni_hostname": NAME}) as reply:
            assert [line for line in reply.iter_lines() if line][-1] == "data: [DONE]"
        server.log_line()
        with client.stream("GET", "/nowhere", headers=FORGED, extensions={"sni_hostname": NAME}):
            pass
    assert server.log_line().endswith("from 127.0.0.2)")
