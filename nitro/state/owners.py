"""Which servers live: each holds a lock on a file of its own, which the kernel gives back however a server ends.

Several servers of a user may keep their responses in one folder.
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

FOLDER = "servers"  # beside the database


class Owners:
    """The servers of a state folder, of which this process is one."""

    def __init__(self, folder: Path):
        self._folder = folder.expanduser() / FOLDER
        self._name: str | None = None
        self._lock = -1  # a file descriptor, which no child process inherits

    @property
    def name(self) -> str:
        """This server's, which is taken with the first call. Raises OSError."""
        while self._name is None:
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._folder / secrets.token_hex(8)
            lock = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if file.exists():
                self._name, self._lock = file.name, lock
            else:  # another server has taken it for that of a dead one before it was locked
                os.close(lock)
        return self._name

    def lives(self, name: str) -> bool:
        """Whether the server of this name has not ended. The file of one that has is removed."""
        if name == self._name:
            return True
        file = self._folder / name
        try:
            lock = os.open(file, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink(missing_ok=True)
            return False
        except OSError:
            return True
        finally:
            os.close(lock)

    def remove_dead(self) -> None:
        """Files of servers that have ended."""
        with contextlib.suppress(OSError):
            for file in list(self._folder.iterdir()):
                self.lives(file.name)

    def close(self) -> None:
        """This server ends."""
        if self._name is not None:
            with contextlib.suppress(OSError):
                (self._folder / self._name).unlink(missing_ok=True)
                os.close(self._lock)
            self._name = None
