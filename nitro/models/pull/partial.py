"""A file of the hub on its way into the cache: what is here of it, its hash so far, and its proof."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nitro.errors import PullError
from nitro.models import fetched
from nitro.models.repository import RepositoryFile
from nitro.system import named_faults

SUFFIX = fetched.PARTIAL  # huggingface_hub's own partial files end in .incomplete, too
BLOCK = 2**20
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def key(file: RepositoryFile) -> str:
    """The name of a file's blob in the cache: its SHA-256, or Git's SHA-1 of a small file. Raises PullError."""
    found = file.sha256 or file.git
    if not _HASH.fullmatch(found):
        raise PullError("no_hash", f"The hub gives no hash of {file.path}, so that it cannot be verified.")
    return found


def new_hash(file: RepositoryFile) -> "hashlib._Hash":
    """The hash that `key` is of. Git's begins with the kind and the size of the object (gitformat-loose)."""
    return hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode())


def is_proven(path: Path, file: RepositoryFile, advance: Callable[[int], None] = lambda _: None) -> bool:
    """Whether a file has the size and the hash that the hub says. `advance` gets the bytes of each block."""
    if path.stat().st_size != file.size:
        return False
    digest = new_hash(file)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest() == key(file)


class Partial:
    """The bytes of a file that are here, which another run may go on with. Written without a buffer: what has been
    written survives this process, however it ends. A context manager; one process at a time may have it."""

    def __init__(self, blob: Path, file: RepositoryFile):
        self.path = blob.with_name(blob.name + SUFFIX)
        self._blob, self._file = blob, file
        self._hash = new_hash(file)
        self._stream: BinaryIO
        self.have = 0  # bytes

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(self.path, "ab+", buffering=0)
        if os.fstat(self._stream.fileno()).st_size > self._file.size:
            self.restart()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()

    def read_back(self) -> None:
        """Hash what an earlier run has left."""
        self._stream.seek(0)
        left = os.fstat(self._stream.fileno()).st_size
        while left and (block := self._stream.read(min(BLOCK, left))):
            self._hash.update(block)
            self.have += len(block)
            left -= len(block)

    def write(self, data: bytes) -> None:
        """Append. Raises OSError; what has been written by then counts."""
        view = memoryview(data)
        while view:
            with named_faults.on(self.path):
                written = self._stream.write(view)
            assert written is not None  # a file never blocks
            self._hash.update(view[:written])
            self.have += written
            view = view[written:]

    def restart(self) -> None:
        """Begin anew."""
        self._stream.truncate(0)
        self._hash = new_hash(self._file)
        self.have = 0

    def finish(self) -> None:
        """Make it the blob, if its hash is right. Else it is dropped, and PullError raised."""
        if self.have != self._file.size or self._hash.hexdigest() != key(self._file):
            self.path.unlink()
            raise PullError(
                "wrong_hash",
                f"{self._file.path} came with another content than the hub says (its hash differs), and was removed. "
                f"Run the command again; if that repeats, the proxy or the mirror in between is at fault.",
            )
        with named_faults.on(self.path):
            os.fsync(self._stream.fileno())
        self.path.replace(self._blob)
