"""What is told while files are fetched, and how fast it goes."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from nitro.models.repository import RepositoryFile

WINDOW = 10.0  # seconds that the speed is a mean of


class Began(Struct, frozen=True):
    """These files are fetched."""

    files: tuple[RepositoryFile, ...]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)


class Here(Struct, frozen=True):
    """So many bytes of a file were here already."""

    file: RepositoryFile
    size: int


class Came(Struct, frozen=True):
    """So many bytes more have come; fewer than zero: are gone."""

    file: RepositoryFile
    size: int


class Done(Struct, frozen=True):
    """A file is whole and verified."""

    file: RepositoryFile
    path: Path


class Said(Struct, frozen=True):
    """A sentence for the user."""

    text: str


Event = Began | Here | Came | Done | Said
Report = Callable[[Event], None]


class Meter:
    """How much has come of how much, how fast, and when it will all be here. `clock`: in seconds."""

    def __init__(self, total: int, clock: Callable[[], float]):
        self.total, self.have = total, 0
        self._clock = clock
        self._came: deque[tuple[float, int]] = deque([(clock(), 0)])  # time, bytes that came up to then
        self._fetched = 0

    def here(self, size: int) -> None:
        """Count what was here already, which says nothing of the speed."""
        self.have += size

    def advance(self, size: int) -> None:
        """Count what has come."""
        self.have += size
        self._fetched += max(size, 0)
        now = self._clock()
        if now - self._came[-1][0] >= WINDOW / 100:
            self._came.append((now, self._fetched))
        while len(self._came) > 2 and now - self._came[1][0] >= WINDOW:
            self._came.popleft()

    @property
    def speed(self) -> float:
        """Bytes per second of late; 0 where nothing is known yet."""
        since, before = self._came[0]
        passed = self._clock() - since
        return (self._fetched - before) / passed if passed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until all is here at this speed; None where nothing comes."""
        return (self.total - self.have) / self.speed if self.speed else None
