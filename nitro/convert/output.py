"""A model is written whole or not at all: in a folder of its own beside the target, synced, then renamed.

The folder is locked while its process lives, so that another one can tell what was left behind, and clears it.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nitro.errors import ConvertError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OLD = "replaced"  # in the partial folder: what the target was


def refuse_existing(target: Path, force: bool) -> None:
    """Raises ConvertError."""
    if target.exists() and not force:
        raise ConvertError(f"{target} exists; name another with -o, or add --force to replace it.")
    if target.is_dir() and not _is_model(target):
        raise ConvertError(f"{target} is a folder that holds no model, so it is not replaced.")
    if not target.parent.is_dir():
        raise ConvertError(f"{target.parent} is no folder.")


@contextmanager
def whole(target: Path, force: bool = False) -> Iterator[Path]:
    """A path to write to, file or folder; it becomes `target` when the block ends without an exception.

    What lies beside it in its folder is scratch, and goes. Raises ConvertError: the target exists, the disk is full.
    """
    refuse_existing(target, force)
    try:
        with _locked(target.parent):
            _clear(target)
            folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder / target.name
            _publish(folder, target, force)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        if error.errno in FULL:
            raise ConvertError(f"The disk of {target.parent} is full; nothing was left there.") from None
        raise ConvertError(f"{target} cannot be written: {error.strerror or error}.") from None


def clear(target: Path) -> None:
    """Remove what processes that were killed left of this target; a model that was being replaced comes back."""
    if target.parent.is_dir():
        with _locked(target.parent):
            _clear(target)


def _clear(target: Path) -> None:
    for folder in target.parent.glob(f"{_escaped(_prefix(target))}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:
            continue  # it has gone in the meantime
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / OLD).exists() and not target.exists():
                (folder / OLD).rename(target)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(lock)


def size(path: Path) -> int:
    """Bytes in a file, or in all files of a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def sync(path: Path) -> None:
    """A file, or a folder with all it holds, is on the disk after this."""
    for each in sorted(path.rglob("*"), reverse=True) if path.is_dir() else []:
        _sync_one(each)
    _sync_one(path)


def _publish(folder: Path, target: Path, force: bool) -> None:
    made = folder / target.name
    sync(made)
    refuse_existing(target, force)
    if target.exists():
        target.rename(folder / OLD)
    made.rename(target)
    _sync_one(target.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """For as long as a partial folder is made, so that nobody finds it before it is locked itself."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or not any(folder.iterdir())
