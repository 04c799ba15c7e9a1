"""A hub on loopback, for the real huggingface_hub as its client: it speaks what huggingface_hub 2.4.0 uses of the hub's
protocol, and fails where a test wants it to.

As the hub does: /api/models lists a repository at a commit; a large file's `resolve` is a redirect with the file's hash
and size to another host (here: another port), which refuses who brings a token; a small file's is one on the same host;
who asks for what is not there without a token gets a 401, as for what is private. Large files name a Xet hash too.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from running import until

TOKEN = "hf_good"
LARGE = (".gguf", ".safetensors", ".bin")
BLOCK = 1024  # bytes of a body that are sent at a time


@dataclass
class Repo:
    """A repository with one commit."""

    files: dict[str, bytes]
    tags: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    allowed: bool = True  # for whom has a token

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files)).encode() + b"".join(self.files.values())).hexdigest()

    def sha256(self, path: str) -> str:
        return hashlib.sha256(self.files[path]).hexdigest()

    def git(self, path: str) -> str:
        content = self.files[path]
        if path.endswith(LARGE):  # what Git has of it is a pointer
            content = f"oid sha256:{self.sha256(path)}\nsize {len(content)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def listed(self, name: str) -> dict[str, Any]:
        siblings = []
        for path, content in self.files.items():
            entry: dict[str, Any] = {"rfilename": path, "blobId": self.git(path), "size": len(content)}
            if path.endswith(LARGE):
                entry["lfs"] = {"sha256": self.sha256(path), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        gated = "manual" if self.gated else False
        listed = {"_id": "0", "id": name, "modelId": name, "sha": self.commit, "private": self.private, "gated": gated}
        return {**listed, "tags": list(self.tags), "downloads": 0, "likes": 0, "siblings": siblings}


@dataclass
class Request:
    """What a client has asked for: the bytes [start, stop), where it does not want all."""

    method: str
    path: str
    token: str | None
    start: int = 0
    stop: int | None = None
    agent: str = ""


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class LoopbackHub:
    """The hub. What goes wrong is set by the test, and may change while it runs."""

    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    cut: int | None = None  # the connection to the storage ends after so many bytes of each answer
    has_ranges: bool = True
    wrong: set[str] = field(default_factory=set)  # SHA-256 of files that come with another content
    counted: int = 0  # bytes of large files that were sent
    sending: int = 0  # answers with some that are under way
    # a test's own answers: gets each request, gives None where the hub is to answer as it does
    answer: Callable[[Request], Answer | None] = lambda _request: None
    url: str = ""
    storage: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> int:
        """Bytes of large files, once each answer that was begun has ended: a client may have all of it before."""
        until(lambda: not self.sending)
        return self.counted

    def blob(self, sha256: str) -> bytes | None:
        found = (
            content
            for repo in self.repos.values()
            for path, content in repo.files.items()
            if path.endswith(LARGE) and repo.sha256(path) == sha256
        )
        return next(found, None)

    def asked(self, part: str, method: str = "GET") -> list[Request]:
        """The requests for paths with this in them."""
        return [request for request in self.requests if part in request.path and request.method == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        token = self.headers.get("Authorization")
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        path = unquote(urlsplit(self.path).path)
        request = Request(
            self.command, path, token, int(first), int(last) + 1 if last else None, self.headers.get("User-Agent", "")
        )
        with self.hub.lock:
            self.hub.requests.append(request)
        own = self.hub.answer(request)
        try:
            self._send(*(own or self._of(request)))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _of(self, request: Request) -> Answer:
        raise NotImplementedError

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _Hub(_Handler):
    def _of(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")
        if request.token and request.token != f"Bearer {TOKEN}":
            return error(401, "", "Invalid credentials in Authorization header")
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
            kind, revision = (rest[0], rest[1]) if len(rest) > 1 else ("revision", "main")
        elif parts[:2] == ["api", "resolve-cache"]:
            name, kind, revision, path = "/".join(parts[3:5]), "cached", parts[5], "/".join(parts[6:])
        else:
            name, kind, revision, path = "/".join(parts[:2]), parts[2], parts[3], "/".join(parts[4:])
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not request.token):
            if not request.token:
                return error(401, "", "Invalid username or password.")
            return error(404, "RepoNotFound", "Repository not found")
        if revision not in ("main", repo.commit):
            return error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if kind == "revision":
            return 200, {"Content-Type": "application/json"}, json.dumps(repo.listed(name)).encode()
        if repo.gated and not request.token:
            return error(401, "GatedRepo", f"Access to model {name} is restricted. Please log in.")
        if repo.gated and not repo.allowed:
            return error(403, "GatedRepo", f"Access to model {name} is restricted and you are not on the list.")
        if path not in repo.files:
            return error(404, "EntryNotFound", "Entry not found")
        return self._file(name, repo, path, kind, request)

    def _file(self, name: str, repo: Repo, path: str, kind: str, request: Request) -> Answer:
        content = repo.files[path]
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if path.endswith(LARGE):
            sha256 = repo.sha256(path)
            refresh = f"{self.hub.url}/api/models/{name}/xet-read-token/{repo.commit}"
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
            headers |= {"X-Xet-Hash": hashlib.sha256(b"xet" + content).hexdigest()}
            headers |= {"Link": f'<{refresh}>; rel="xet-auth"'}
            return 302, {**headers, "Location": f"{self.hub.storage}/{sha256}?signature=1"}, b"Found."
        headers["ETag"] = f'"{repo.git(path)}"'
        if kind == "resolve":
            location = f"/api/resolve-cache/models/{name}/{repo.commit}/{path}"
            return 307, {**headers, "Location": location}, b"Temporary Redirect."
        if self.headers.get("Range"):
            return _part(content, request, headers)
        return 200, headers, content


class _Storage(_Handler):
    def _of(self, request: Request) -> Answer:
        sha256 = request.path.strip("/")
        content = self.hub.blob(sha256)
        if request.token:  # as S3 answers whom a signature and a token let in
            return 400, {}, b"Only one auth mechanism allowed"
        if content is None:
            return 404, {}, b""
        if sha256 in self.hub.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{sha256}"', "Content-Type": "binary/octet-stream"}
        if not self.hub.has_ranges:
            return 200, headers, content
        return _part(content, request, headers)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if status not in (200, 206):
            return super()._send(status, headers, body)
        with self.hub.lock:
            self.hub.sending += 1
        try:
            self._send_large(status, {"Content-Length": str(len(body)), **headers}, body)
        finally:
            with self.hub.lock:
                self.hub.sending -= 1

    def _send_large(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.hub.cut
        body = body if cut is None else body[:cut]
        for start in range(0, len(body), BLOCK):
            self.wfile.write(body[start : start + BLOCK])
        with self.hub.lock:
            self.hub.counted += len(body)
        if cut is not None:
            self.close_connection = True


def _part(content: bytes, request: Request, headers: dict[str, str]) -> Answer:
    size = len(content)
    if request.start >= size:
        return 416, {"Content-Range": f"bytes */{size}"}, b""
    part = content[request.start : request.stop]
    return 206, {**headers, "Content-Range": f"bytes {request.start}-{request.start + len(part) - 1}/{size}"}, part


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error as the hub says it."""
    said = {"X-Error-Code": code, "X-Error-Message": message} if code else {"X-Error-Message": message}
    return status, {**said, **headers, "Content-Type": "application/json"}, json.dumps({"error": message}).encode()


@contextmanager
def running() -> Iterator[LoopbackHub]:
    """A hub without repositories, while it is needed."""
    hub = LoopbackHub()
    servers = []
    for kind in (_Hub, _Storage):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    hub.url, hub.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
