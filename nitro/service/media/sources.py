"""Media as requests have them: files in base64, or addresses. Pure; nothing of a file is looked at."""

import binascii
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from nitro.engines.media import MediaKind
from nitro.errors import ApiError

REMOTE = ("http://", "https://")
EXPECTED = "a data: URI, base64, or an address that begins with https:// or http://"
MAX_ADDRESS = 8192  # characters
_STANDARD = bytes.maketrans(b"-_", b"+/")  # base64 of addresses as that of mail
_SPACE = b" \t\r\n"


class MediaSource(Struct, frozen=True, kw_only=True):
    """An image or a sound of a request: its file, or the address of it.

    `part`: what the request calls the part of a message that holds it; `field`: where in that it stands; `type`: the
    part's type, "" where it has none.
    """

    kind: MediaKind
    part: str
    field: str
    type: str = ""
    data: bytes = b""
    url: str = ""
    max_side: int | None = None  # pixels to which an image is shrunk; None: it is not

    @property
    def param(self) -> str:
        """What the request calls it."""
        return f"{self.part}.{self.field}" if self.part else self.field


def of_text(text: str, **source: object) -> MediaSource:
    """A source whose file is in a `data:` URI, in base64, or behind an address. Raises ApiError 400."""
    made = MediaSource(**source)  # type: ignore[arg-type]
    return MediaSource(**(source | _content(text, made.param)))  # type: ignore[arg-type]


def _content(text: str, param: str) -> dict[str, bytes | str]:
    start = text[:64].lower()
    if start.startswith(REMOTE):
        if len(text) > MAX_ADDRESS:
            raise ApiError.invalid(param, f"an address of at most {MAX_ADDRESS} characters, got {len(text)}")
        return {"url": text}
    if start.startswith("data:"):
        head, comma, content = text.partition(",")
        if not comma:
            raise ApiError.invalid(param, "a data: URI with a comma before its content")
        if head.lower().endswith(";base64"):
            return {"data": decoded(content, param)}
        return {"data": unquote_to_bytes(content)}
    if ":" in start:
        raise ApiError.invalid(param, f"{EXPECTED}, got '{text[:32]}'")
    return {"data": decoded(text, param)}


def decoded(text: str, param: str) -> bytes:
    """Base64 in either alphabet, with or without its padding. Raises ApiError 400."""
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise ApiError.invalid(param, "base64: it has other characters") from None
    with suppress(binascii.Error):  # as most write it
        return binascii.a2b_base64(raw, strict_mode=True) if raw else b""
    if any(byte in raw for byte in _SPACE):
        raw = raw.translate(None, _SPACE)
    raw = raw.translate(_STANDARD).rstrip(b"=")
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True) if raw else b""
    except binascii.Error as error:
        raise ApiError.invalid(param, f"base64 ({str(error).lower()})") from None
