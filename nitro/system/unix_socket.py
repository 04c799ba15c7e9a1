"""Unix sockets to listen on: a file that clients open, and whose mode says who may."""

import contextlib
import os
import socket
import stat
from pathlib import Path

from nitro.errors import StartError


class UnixListener:
    """A socket that listens, and its file. Raises StartError."""

    def __init__(self, path: Path, mode: int, backlog: int):
        """`mode`: of the file, as chmod has it: who may write to it may connect. What a server that was killed has left
        there is removed; what somebody listens on is not."""
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make_room(path)
            self.socket.bind(str(path))
            os.chmod(path, mode)  # nobody can connect yet: it does not listen
            self._file = _identity(path)
            self.socket.listen(backlog)
        except (OSError, ValueError) as error:  # ValueError: a null character
            self.socket.close()
            why = getattr(error, "strerror", None) or error
            raise StartError(f"Cannot listen on {path}: {why}. Choose another place with --uds.") from None
        except StartError:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Remove the file, unless another server has put its own there."""
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._file:
                self.path.unlink()


def _make_room(path: Path) -> None:
    """Raises StartError where something is there that is in use, or no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"--uds {path}: there is a file already, which is no socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a server whose queue is full is one, too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            raise _taken(path) from None
        else:
            raise _taken(path)


def _taken(path: Path) -> StartError:
    return StartError(f"--uds {path}: a server listens there already.")


def _identity(path: Path) -> tuple[int, int]:
    about = path.lstat()
    return about.st_dev, about.st_ino
