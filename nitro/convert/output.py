"""A model is written completely or not at all: into a temporary folder beside the target, synced, then renamed.

The folder is locked while its process lives, so that another process can recognise leftovers and remove them.
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

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REPLACED = "replaced"  # in the temporary folder: the previous target


def refuse_existing(target: Path, force: bool) -> None:
    """Raises ConvertError where the target may not be written: it exists without `force`, or is not a model."""
    if target.exists() and not force:
        raise ConvertError(f"{target} exists; choose another target with -o, or add --force to replace it.")
    if target.is_dir() and not _is_model(target):
        raise ConvertError(f"{target} is a folder that is not a model, so it is not replaced.")
    if not target.parent.is_dir():
        raise ConvertError(f"{target.parent} is not a folder.")


@contextmanager
def writing(target: Path, force: bool = False) -> Iterator[Path]:
    """A path to write to, file or folder, which becomes `target` when the block ends without an exception.

    Other files in its folder are temporary, and are removed. Raises ConvertError where the target exists or the disk
    is full.
    """
    refuse_existing(target, force)
    try:
        with _locked(target.parent):
            _remove_leftovers(target)
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
        if error.errno in DISK_FULL:
            raise ConvertError(f"The disk of {target.parent} is full; nothing was left there.") from None
        raise ConvertError(f"{target} cannot be written: {error.strerror or error}.") from None


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left of this target. A model that was being replaced is restored."""
    if target.parent.is_dir():
        with _locked(target.parent):
            _remove_leftovers(target)


def _remove_leftovers(target: Path) -> None:
    for folder in target.parent.glob(f"{_escaped(_prefix(target))}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:
            continue  # it has been removed in the meantime
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / REPLACED).exists() and not target.exists():
                (folder / REPLACED).rename(target)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process is running
        finally:
            os.close(lock)


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def sync(path: Path) -> None:
    """Wait until a file, or a folder and everything in it, is on the disk."""
    for each in sorted(path.rglob("*"), reverse=True) if path.is_dir() else []:
        _sync_one(each)
    _sync_one(path)


def _publish(folder: Path, target: Path, force: bool) -> None:
    made = folder / target.name
    sync(made)
    refuse_existing(target, force)
    if target.exists():
        target.rename(folder / REPLACED)
    made.rename(target)
    _sync_one(target.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Held while a temporary folder is made, so that no process finds it before it is locked itself."""
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
    known = ("config.json", "adapter_config.json")
    return any((folder / name).is_file() for name in known) or not any(folder.iterdir())
