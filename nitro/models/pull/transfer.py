"""The bytes of one file: asked for in pieces, again after each cut, and proven when they are whole."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from threading import Event

import filelock
import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import WeakFileLock

from nitro.errors import PullError
from nitro.models.pull import refusals
from nitro.models.pull.hub import Hub
from nitro.models.pull.partial import Partial, is_proven, key
from nitro.models.pull.report import Came, Done, Here, Report, Said
from nitro.models.repository import Repository, RepositoryFile

# Bytes of a request: the hub gives no file above 50 GB in one answer, and lets the address that it sends to expire.
PIECE = 2**32
MAX_TRIES = 6  # that bring nothing, one after another
FIRST_WAIT, MAX_WAIT = 1.0, 30.0  # seconds between them, doubled each time
MAX_ASKED_WAIT = 120  # seconds that the hub may ask to wait
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
LOCK_POLL = 0.5  # seconds

Wait = Callable[[float], object]  # sleeps so many seconds, or until it is stopped


class Stopped(Exception):
    """The pull is being ended; what is here stays."""


class Transfer:
    """Fetches files of one repository into the cache. Threads may share it."""

    def __init__(self, hub: Hub, repository: Repository, report: Report, stop: Event, wait: Wait | None = None):
        self._hub, self._repository, self._report = hub, repository, report
        self._stop, self._wait = stop, wait or stop.wait

    def blob(self, file: RepositoryFile) -> Path:
        """Where a file's content lies in the cache."""
        return self._hub.blob(self._repository, key(file))

    def fetch(self, file: RepositoryFile) -> Path:
        """Have the file in the cache, whole and verified; returns its path in the snapshot. Raises PullError, OSError,
        Stopped, and what huggingface_hub raises."""
        with self._alone(file):
            if not self._is_here(file):
                with Partial(self.blob(file), file) as partial:
                    self._complete(file, partial)
        path = self._hub.place(self._repository, file)
        if path.resolve() != self.blob(file).resolve() and not is_proven(path, file):
            path.unlink()  # by a hub that answers with other hashes than it lists
            raise PullError("wrong_hash", f"{file.path} came with another content than the hub says, and was removed.")
        self._report(Done(file, path))
        return path

    @contextmanager
    def _alone(self, file: RepositoryFile) -> Iterator[None]:
        """While huggingface_hub's lock of the blob is held. Another program that fetches it is waited for."""
        lock = self._hub.lock(self._repository, key(file))
        lock.parent.mkdir(parents=True, exist_ok=True)
        told = False
        while True:
            self._check()
            with ExitStack() as stack:
                try:
                    stack.enter_context(WeakFileLock(lock, timeout=LOCK_POLL))
                except filelock.Timeout:
                    if not told:
                        self._report(Said(f"Another program is fetching {file.path}; waiting for it."))
                    told = True
                    continue
                yield
                return

    def _is_here(self, file: RepositoryFile) -> bool:
        """Whether the content is there, and right: other programs do not compare hashes. A wrong one is dropped."""
        for place in (self.blob(file), self._hub.pointer(self._repository, file)):
            if not place.exists():
                continue
            if is_proven(place, file):
                self._report(Here(file, file.size))
                return True
            self._report(
                Said(f"{file.path} was in the cache with another content than the hub says, and is fetched again.")
            )
            place.unlink()
        return False

    def _complete(self, file: RepositoryFile, partial: Partial) -> None:
        partial.read_back()
        self._report(Here(file, partial.have))
        most, tries, wait = partial.have, 0, FIRST_WAIT
        while partial.have < file.size:
            self._check()
            try:
                self._piece(file, partial)
                if partial.have <= most:
                    raise httpx2.RemoteProtocolError("the answer was empty")
            except (httpx2.TransportError, HfHubHTTPError) as error:
                if isinstance(error, HfHubHTTPError) and error.response.status_code not in AGAIN:
                    raise
                if partial.have > most:
                    tries, wait = 0, FIRST_WAIT
                else:
                    tries += 1
                    if tries >= MAX_TRIES:
                        raise
                    self._sleep(file, error, wait)
                    wait = min(2 * wait, MAX_WAIT)
            most = max(most, partial.have)
        partial.finish()

    def _piece(self, file: RepositoryFile, partial: Partial) -> None:
        """One request. Raises what the client raises; what came by then is written."""
        stop = min(partial.have + PIECE, file.size)
        with self._hub.open(self._repository, file, partial.have, stop) as response:
            status = response.status_code
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise PullError("changed", f"{file.path} is shorter than the hub's list says; run the command again.")
            begins = _begin(response)
            if begins != partial.have:
                if begins:
                    raise httpx2.RemoteProtocolError(f"byte {partial.have} was asked for, and byte {begins} came")
                self._report(Came(file, -partial.have))
                partial.restart()  # a server without ranges
            for data in response.iter_bytes():
                self._check()
                if partial.have + len(data) > file.size:
                    raise PullError(
                        "changed", f"{file.path} is longer than the hub's list says; run the command again."
                    )
                partial.write(data)
                self._report(Came(file, len(data)))

    def _sleep(self, file: RepositoryFile, error: Exception, seconds: float) -> None:
        """Before the next try: as long as the hub asks for, or `seconds`. Raises the refusal where it asks for too
        long."""
        refusal = refusals.of(error, self._repository.name)
        if refusal and refusal.retry_after is not None:
            if refusal.retry_after > MAX_ASKED_WAIT:
                raise refusal
            seconds = refusal.retry_after
        self._report(Said(f"{file.path}: {refusal or error} Trying again in {seconds:.0f} s."))
        self._wait(seconds)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped


def _begin(response: httpx2.Response) -> int:
    """The first byte of an answer: a whole file begins at 0. Source: RFC 9110, 14.4."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise httpx2.RemoteProtocolError("an answer in part does not say which")
    return int(first)
