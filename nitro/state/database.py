"""The SQLite file: opened when it is first needed, and again after a fault; every fault in words for people.

Write-ahead log without a sync per change: a process that is killed loses nothing, a machine that loses power may lose
the last seconds, and the file is whole in both cases (https://sqlite.org/wal.html, https://sqlite.org/pragma.html).
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nitro.errors import StateError
from nitro.state.schema import APPLICATION, RESPONSES, Schema

T = TypeVar("T")
Connection = sqlite3.Connection  # for those who write jobs elsewhere
Job = Callable[[sqlite3.Connection], T]

FILE = RESPONSES.file
PATIENCE = 2.0  # seconds to wait for another process that writes
AGAIN = 1  # seconds after which a client may try again, where another process writes
FULL = "is full: the disk has no room for it, or its size is limited"
DAMAGED = "is damaged or no SQLite database. Move it away, and a new one is made"
READ_ONLY = "can be read but not written"


class Database:
    """One file, for one thread. Every method raises StateError where it cannot be read or written."""

    def __init__(self, folder: Path, schema: Schema = RESPONSES):
        self.file = folder.expanduser() / schema.file
        self._changes = schema.changes
        self._connection: sqlite3.Connection | None = None
        self._inode = 0  # of the file that is open

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self.file.exists()

    def read(self, job: Job[T], waited: float = 0.0) -> T:
        """What the job reads: all of it as it was at one time. `waited`: seconds of PATIENCE that are gone."""
        return self._run("BEGIN", job, waited)

    def write(self, job: Job[T], waited: float = 0.0) -> T:
        """What the job does happens as a whole, or not at all where it raises."""
        return self._run("BEGIN IMMEDIATE", job, waited)

    def _run(self, begin: str, job: Job[T], waited: float) -> T:
        try:
            connection = self._open()
            connection.execute(f"PRAGMA busy_timeout = {max(0, round(1000 * (PATIENCE - waited)))}")
            connection.execute(begin)
            try:
                result = job(connection)
                connection.execute("COMMIT")
                return result
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:  # a full disk ends one by itself
                        connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            fault = self._fault(error)
            if fault.code != "state_locked":  # whatever has happened to the file, the next one looks again
                self.close()
            raise fault from error

    def close(self) -> None:
        """It may be used again."""
        if self._connection:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection and self._inode != _inode(self.file):
            self.close()  # it was moved away: what is written to it now would be lost
        if self._connection is None:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                # what people say is theirs alone. A file that is there is not opened: closing it again would give up
                # the locks that this process has on it (https://sqlite.org/howtocorrupt.html, 2.2)
                os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except OSError as error:
                if not self.file.is_file():
                    raise StateError("state_unusable", f"{self.file} cannot be opened: {error.strerror}.") from None
            connection = sqlite3.connect(self.file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._inode = connection, _inode(self.file)
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check whose it is, and bring it to this version."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application != APPLICATION:
            raise StateError("state_unusable", f"{self.file} is another program's database. Choose another --state.")
        if version > len(self._changes):
            why = f"{self.file} was written by a newer Nitro (version {version} of its tables; this one knows "
            raise StateError("state_newer", f"{why}{len(self._changes)}). Update Nitro, or choose another --state.")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < len(self._changes):
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()  # another server may have been faster
            for change in self._changes[version:]:
                for statement in _statements(change):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {len(self._changes)}")
            connection.execute("COMMIT")

    def _fault(self, error: sqlite3.Error) -> StateError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code: https://sqlite.org/rescode.html
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            why = f"{self.file} is locked: another program has been writing to it for {PATIENCE:g} seconds."
            return StateError("state_locked", why, AGAIN)
        told = {
            sqlite3.SQLITE_FULL: ("state_full", FULL),
            sqlite3.SQLITE_CORRUPT: ("state_damaged", DAMAGED),
            sqlite3.SQLITE_NOTADB: ("state_damaged", DAMAGED),
            sqlite3.SQLITE_READONLY: ("state_read_only", READ_ONLY),
        }
        name, why = told.get(code, ("state_unusable", f"cannot be used: {error}"))
        return StateError(name, f"{self.file} {why}.")


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except OSError:
        return 0


def _statements(script: str) -> list[str]:
    """One by one: `executescript` would end the transaction."""
    statements: list[str] = []
    text = ""
    for part in script.split(";"):
        text += f"{part};"
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
