"""The chosen files of a repository, several at once, into the cache."""

import queue
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from nitro.errors import PullError
from nitro.models.pull import refusals
from nitro.models.pull.hub import Hub
from nitro.models.pull.partial import SUFFIX, key
from nitro.models.pull.report import Began, Event, Report
from nitro.models.pull.transfer import Stopped, Transfer, Wait
from nitro.models.repository import Repository, RepositoryFile
from nitro.system import named_faults

AT_ONCE = 4
SPARE = 64 * 10**6  # bytes of disk that are left free
LEAVE = 2.0  # seconds that threads have to end in, once they are told to


def fetch(
    hub: Hub, repository: Repository, files: Sequence[RepositoryFile], report: Report, wait: Wait | None = None
) -> list[Path]:
    """Fetch the files; returns their paths in the snapshot, in this order. Raises PullError.

    Whatever ends it, the bytes that are here stay, and the next call goes on from there. `wait` stands in for the
    pauses between tries.
    """
    _check_disk(hub, repository, files)
    stop, one_at_a_time = threading.Event(), threading.Lock()

    def tell(event: Event) -> None:
        with one_at_a_time:
            report(event)

    transfer = Transfer(hub, repository, tell, stop, wait)
    waiting: queue.SimpleQueue[RepositoryFile] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[RepositoryFile, Path | Exception]] = queue.SimpleQueue()
    for file in files:
        waiting.put(file)

    def work() -> None:
        while not stop.is_set():
            try:
                file = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                with named_faults.on(hub.cache):
                    ended.put((file, transfer.fetch(file)))
            except Exception as error:
                ended.put((file, error))

    # daemons, so that a server that says nothing does not keep a process that wants to end
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(files)))]
    tell(Began(tuple(files)))
    for thread in threads:
        thread.start()
    paths: dict[RepositoryFile, Path] = {}
    try:
        while len(paths) < len(files):
            file, result = ended.get()
            if isinstance(result, Exception):
                raise _refusal(result, repository)
            paths[file] = result
    finally:
        stop.set()
        for thread in threads:
            thread.join(LEAVE)
    return [paths[file] for file in files]


def _refusal(error: Exception, repository: Repository) -> Exception:
    return error if isinstance(error, Stopped) else refusals.of(error, repository.name) or error


def _check_disk(hub: Hub, repository: Repository, files: Sequence[RepositoryFile]) -> None:
    """Whether what is not here yet fits onto the disk. Raises PullError."""
    missing = sum(_missing(hub, repository, file) for file in files)
    folder = next(folder for folder in (hub.cache.absolute(), *hub.cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if missing and missing + SPARE > free:
        raise PullError(
            "disk_full",
            f"{repository.name} needs {missing / 1e9:.1f} GB more in {hub.cache}, and {free / 1e9:.1f} GB are free "
            f"there. Free some, or set HF_HOME to a folder on another disk.",
        )


def _missing(hub: Hub, repository: Repository, file: RepositoryFile) -> int:
    blob = hub.blob(repository, key(file))
    if blob.exists() or hub.pointer(repository, file).exists():
        return 0
    partial = blob.with_name(blob.name + SUFFIX)
    return max(file.size - (partial.stat().st_size if partial.exists() else 0), 0)
