"""Files of this machine, sent and fetched in pieces: none of them is ever in memory as a whole."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from nitro.chat.client import Client
from nitro.errors import ChatError

CHUNK = 2**18  # bytes
MAX_LINE = 2**26  # bytes of the first line
NAME = "batch.jsonl"


class InputFile:
    """A file of lines: its digest, and what its first line asks. Raises ChatError."""

    def __init__(self, path: Path):
        self.path = path
        digest = hashlib.sha256()
        self.size = 0
        try:
            with path.open("rb") as file:
                lines = iter(lambda: file.readline(MAX_LINE), b"")
                self.endpoint = _endpoint(path, next((line for line in lines if line.strip()), b""))
                file.seek(0)
                while data := file.read(CHUNK):
                    digest.update(data)
                    self.size += len(data)
        except OSError as error:
            raise ChatError(f"{path} cannot be read: {error.strerror}.") from None
        self.digest = digest.hexdigest()

    def send(self, client: Client) -> str:
        """Upload it: its id. Raises ChatError."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{NAME}"\r\n\r\n'
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        length = str(len(head) + self.size + len(tail))
        kind = f"multipart/form-data; boundary={boundary}"
        body = self._parts(head, tail)
        with client.exchange("POST", "/files", body, Content_Type=kind, Content_Length=length) as response:
            return str(json.loads(response.read())["id"])

    def _parts(self, head: bytes, tail: bytes) -> Iterator[bytes]:
        yield head
        left = self.size
        with self.path.open("rb") as file:
            while left and (data := file.read(min(CHUNK, left))):
                left -= len(data)
                yield data
        if left:
            raise ChatError(f"{self.path} became shorter while it was sent.")
        yield tail


def _endpoint(path: Path, line: bytes) -> str:
    try:
        url = json.loads(line)["url"]
        if not isinstance(url, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        example = '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {…}}'
        raise ChatError(f"{path} is no file of a batch: its first line must look like {example}") from None
    return url


def fetch(client: Client, ids: list[str], target: Path) -> None:
    """These files, one behind the other, become `target`, which is there when it is whole. Raises ChatError."""
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            for id in ids:
                with client.exchange("GET", f"/files/{id}/content") as response:
                    while data := response.read(CHUNK):
                        _write(file, data, target)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise ChatError(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write(file: BinaryIO, data: bytes, target: Path) -> None:
    """Not to be taken for a fault of the connection."""
    try:
        file.write(data)
    except OSError as error:
        raise ChatError(f"{target} cannot be written: {error.strerror}.") from None
