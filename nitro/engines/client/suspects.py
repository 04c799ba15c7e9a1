"""Requests that an engine may have died of. Pure, but for the clock that it is given.

An engine that dies tells which sequences it was at work on (`marks.py`). One death may be anybody's fault; who was
there at two, and has not been answered in between, is refused for a while. Requests that are alike count as one.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

DEATHS = 2
MEMORY = 600.0  # seconds for which a death is remembered, and a suspect refused
MOST = 4096  # that are remembered


@dataclass(slots=True)
class _Record:
    deaths: int
    last: float
    why: str


class Suspects:
    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._records: dict[bytes, _Record] = {}  # by digest, the latest death last

    def died(self, digests: Iterable[bytes], why: str) -> None:
        """An engine died at work on these. `why`: a sentence."""
        now = self._clock()
        for digest in set(digests):
            record = self._known(digest)
            self._records.pop(digest, None)
            self._records[digest] = _Record(record.deaths + 1 if record else 1, now, why)
        while len(self._records) > MOST:
            del self._records[next(iter(self._records))]

    def answered(self, digest: bytes) -> None:
        """One of these was answered, whole: it is not their fault."""
        self._records.pop(digest, None)

    def refusal(self, digest: bytes) -> str | None:
        """Why such a request is refused; None: it is not."""
        record = self._known(digest)
        if record is None or record.deaths < DEATHS:
            return None
        left = record.last + MEMORY - self._clock()
        return (
            f"The engine died {record.deaths} times while it worked on a request like this one, which is refused for "
            f"another {max(left, 1):.0f} seconds. {record.why}"
        )

    def _known(self, digest: bytes) -> _Record | None:
        record = self._records.get(digest)
        return record if record and self._clock() - record.last < MEMORY else None
