"""The page that a browser gets at `/`, and its files.

They are built from web/ into nitro/web/, and lie in memory once somebody asked for one. Every name below `/page/` but
the document's carries a hash of the file, so that browsers keep it for good. The page needs no key: it asks for one,
and sends it with its calls.

Everybody else gets Ollama's words at `/`, as before. It does not know what the page does.
"""

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from litestar import MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from msgspec import Struct

from nitro.api.ollama.routes import RUNNING

FILES = "/page/"
DOCUMENT = "index.html"
MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# What the page shows was written by a model, or by whoever asked it: nothing in it may run, or reach another server.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "media-src data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
}
FOR_GOOD = "public, max-age=31536000, immutable"
_FOLDER = Path(__file__).parents[1] / "web"


class _File(Struct, frozen=True):
    body: bytes
    packed: bytes
    tag: str
    media_type: str


def is_asked(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request is for the page or a file of it. Header names are in lower case."""
    return path.startswith(FILES) or (path == "/" and b"text/html" in headers.get(b"accept", b""))


@get("/")
async def root(request: Request) -> Response:
    """The page for browsers; for all others that a server is here, in Ollama's words."""
    if not is_asked("/", dict(request.scope["headers"])):
        return Response(RUNNING, media_type=MediaType.TEXT, headers={"vary": "Accept"})
    return _reply(request, _files()[DOCUMENT], "no-cache")


@get("/page/{name:str}")
async def page_file(request: Request) -> Response:
    """A file of the page. Raises NotFoundException."""
    name = request.path_params["name"]
    file = _files().get(name)
    if file is None or name == DOCUMENT:
        raise NotFoundException
    return _reply(request, file, FOR_GOOD)


HANDLERS = (root, page_file)


def _reply(request: Request, file: _File, keep: str) -> Response:
    headers = {**HEADERS, "etag": file.tag, "cache-control": keep, "vary": "Accept, Accept-Encoding"}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(file.packed, media_type=file.media_type, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


@cache
def _files() -> dict[str, _File]:
    """Each by its name; less than a megabyte together."""
    paths = [_FOLDER / DOCUMENT, *sorted((_FOLDER / "page").iterdir())]
    return {path.name: _read(path) for path in paths if path.suffix in MEDIA_TYPES}


def _read(path: Path) -> _File:
    body = path.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    return _File(body, gzip.compress(body, mtime=0), tag, MEDIA_TYPES[path.suffix])
