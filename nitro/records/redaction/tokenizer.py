"""The tokens of a text, as a server's `/tokenize` tells them: Nitro's or llama-server's."""

import http.client
from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from nitro.errors import RecordError
from nitro.system import http_clients
from nitro.system.http_clients import SYSTEM, Trust

TIMEOUT = 600.0  # seconds: the first request may load a model


class Token(NamedTuple):
    """A token: its number, and what it adds to a text."""

    id: int
    piece: bytes


class Tokenizer(Protocol):
    """What a redaction needs of a model."""

    def tokens(self, text: str) -> Sequence[Token]:
        """Those of a text, without any that a model puts around it. Raises RecordError."""


class _Piece(msgspec.Struct):
    id: int
    piece: str | list[int]


class _Reply(msgspec.Struct):
    tokens: list[_Piece]


_decode = msgspec.json.Decoder(_Reply).decode


class ServerTokenizer:
    """Asks a server. `root`: its URL without /v1. `model`: of its models; None: its default."""

    def __init__(self, root: str, api_key: str | None = None, model: str | None = None, trust: Trust = SYSTEM):
        self._connection, base = _connection(root, trust)
        self._root, self._path, self._model = root, f"{base}/tokenize", model
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}".encode(errors="surrogateescape").decode("latin-1")

    def tokens(self, text: str) -> Sequence[Token]:
        """See Tokenizer."""
        asked = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
        if self._model:
            asked["model"] = self._model
        try:
            self._connection.request("POST", self._path, msgspec.json.encode(asked), self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise RecordError(f"{self._root} cannot be reached: {http_clients.reason(error)}.") from None
        if response.status != 200:
            said = " ".join(body[:300].decode(errors="replace").split())
            raise RecordError(f"{self._root}/tokenize answers {response.status}: {said}")
        try:
            found = _decode(body).tokens
        except msgspec.MsgspecError:
            raise RecordError(f"{self._root}/tokenize does not answer as Nitro and llama-server do.") from None
        return [Token(each.id, _bytes(each.piece)) for each in found]

    def close(self) -> None:
        """It is not asked any more."""
        self._connection.close()


def _connection(root: str, trust: Trust) -> tuple[http.client.HTTPConnection, str]:
    """And what stands in front of the paths. Raises RecordError."""
    if (unix := http_clients.unix_path(root)) is not None:
        return http_clients.UnixConnection(unix, TIMEOUT), ""
    parts = urlsplit(root)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT), parts.path
    try:
        context = trust.context()
    except (OSError, ValueError) as error:
        raise RecordError(f"{trust.own or trust.authorities}: {getattr(error, 'strerror', None) or error}.") from None
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT, context=context), parts.path


def _bytes(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)
