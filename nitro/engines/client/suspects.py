"""Requests that an engine may have died of. Pure, but for the clock that it is given.

The sequences that an engine was at work on when it died are known (`crash_marks.py`). One death may be the fault of any
of them. A request that was there at two, and has not been answered in between, is refused for a while. Requests that
are alike count as one.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

DEATHS = 2  # after which a request is refused
MEMORY = 600.0  # seconds for which a death is remembered, and a suspect refused
MAX_SUSPECTS = 4096  # that are remembered


@dataclass(slots=True)
class _Record:
    deaths: int
    last: float  # time of the last one
    reason: str  # of the last one, a sentence


class Suspects:
    """Counts deaths by the digest of the work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._records: dict[bytes, _Record] = {}  # by digest, the latest death last

    def died(self, digests: Iterable[bytes], reason: str) -> None:
        """An engine died at work on these. `reason`: a sentence."""
        now = self._clock()
        for digest in set(digests):
            record = self._known(digest)
            self._records.pop(digest, None)
            self._records[digest] = _Record(record.deaths + 1 if record else 1, now, reason)
        while len(self._records) > MAX_SUSPECTS:
            del self._records[next(iter(self._records))]

    def answered(self, digest: bytes) -> None:
        """A request with this digest was answered completely: it is not to blame."""
        self._records.pop(digest, None)

    def refusal(self, digest: bytes) -> str | None:
        """Why a request with this digest is refused; None: it is not."""
        record = self._known(digest)
        if record is None or record.deaths < DEATHS:
            return None
        seconds_left = record.last + MEMORY - self._clock()
        return (
            f"The engine died {record.deaths} times while it worked on a request like this one, which is refused for "
            f"another {max(seconds_left, 1):.0f} seconds. {record.reason}"
        )

    def _known(self, digest: bytes) -> _Record | None:
        record = self._records.get(digest)
        return record if record and self._clock() - record.last < MEMORY else None
