"""What Nitro itself has fetched into the hub's cache and may therefore remove: fetched.json in its data folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from nitro.system import folders, named_faults

FILE, LOCK = "fetched.json", "fetched.lock"
MAX_BYTES = 2**24
PARTIAL = ".nitro.incomplete"  # ends the names of blobs that Nitro has fetched in part


class Record(Struct, frozen=True):
    """Files of one repository at one commit. `pulled`: what is being fetched, by the name that was asked for; there are
    no files of it yet."""

    commit: str
    files: list[str]  # pointers in snapshots/COMMIT, absolute
    pulled: str = ""


def add(repo: str, commit: str, files: Sequence[Path]) -> None:
    """Note that these files of the repository "org/name" were fetched. Raises OSError."""
    with _alone():
        records = _load()
        known = [record for record in records.get(repo, []) if record.commit != commit and not record.pulled]
        before = {file for record in records.get(repo, []) if record.commit == commit for file in record.files}
        records[repo] = [*known, Record(commit, sorted({*before, *map(str, files)}))]
        _store(records)


def begin(repo: str, name: str) -> None:
    """Note that a model of the repository is being fetched, until `add`. Raises OSError."""
    with _alone():
        records = _load()
        known = [record for record in records.get(repo, []) if not record.pulled]
        records[repo] = [*known, Record("", [], pulled=name)]
        _store(records)


def begun() -> dict[str, str]:
    """By repository: what was being fetched, and is not here yet."""
    return {repo: record.pulled for repo, records in _load().items() for record in records if record.pulled}


def read() -> dict[str, frozenset[str]]:
    """By repository: the files that were fetched."""
    return {repo: frozenset(file for record in records for file in record.files) for repo, records in _load().items()}


def remove(repo: str, files: Iterable[Path]) -> None:
    """Forget files that were removed. Raises OSError."""
    gone = set(map(str, files))
    with _alone():
        records = _load()
        records[repo] = [
            Record(record.commit, kept)
            for record in records.get(repo, [])
            if (kept := [file for file in record.files if file not in gone])
        ]
        _store({name: known for name, known in records.items() if known})


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While no other process changes the file: pulls may end together. Raises OSError."""
    lock = folders.data() / LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _load() -> dict[str, list[Record]]:
    file = folders.data() / FILE
    try:
        if file.stat().st_size > MAX_BYTES:
            return {}
        return msgspec.json.decode(file.read_bytes(), type=dict[str, list[Record]])
    except (OSError, ValueError):
        return {}


def _store(records: dict[str, list[Record]]) -> None:
    file = folders.data() / FILE
    made = file.with_name(f"{FILE}.{os.getpid()}.tmp")
    try:
        with named_faults.on(file):
            made.write_bytes(msgspec.json.format(msgspec.json.encode(records)))
        made.replace(file)
    finally:
        with contextlib.suppress(OSError):
            made.unlink()
