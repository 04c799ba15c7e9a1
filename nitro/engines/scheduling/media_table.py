"""What an engine knows of the media that it has seen: which ids stand for them, and rows that need no encoding again.

A medium is known by the SHA-256 of its file. Its parts are kept in the order in which a prompt has them: token ids, and
for each run an id below zero. So the same picture is the same ids in every prompt, and what is computed of it is found
as any other prefix is. An id is never used for anything else; a medium that was forgotten gets new ones.

Rows are there as long as a sequence holds them, and beyond that the latest used, as many as go into `max_bytes`. Pure;
not for several threads at once.
"""

from collections import OrderedDict
from itertools import count
from weakref import WeakValueDictionary

from msgspec import Struct

from nitro.engines.media_encoder import EncodedRun, MediaRun, Rows

MAX_BYTES = 2**28  # of rows that no sequence needs
MAX_KNOWN = 4096  # media whose ids are remembered


class Marks(Struct, frozen=True):
    """Tokens that open a medium, part or close it."""

    ids: list[int]


class KnownRun(Struct, frozen=True):
    """A run of a medium, and the id that stands for each of its rows."""

    id: int
    tokens: int
    positions: int
    atomic: bool

    @property
    def ids(self) -> list[int]:
        """As a prompt has it."""
        return [self.id] * self.tokens

    def encoded(self, rows: Rows) -> EncodedRun:
        """It with its rows."""
        return EncodedRun(self.id, self.tokens, self.positions, self.atomic, rows)


Parts = list[Marks | KnownRun]  # of a medium


class MediaTable:
    """For one model."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_known: int = MAX_KNOWN):
        self._max_bytes, self._max_known = max_bytes, max_known
        self._ids = count(-1, -1)
        self._known: OrderedDict[bytes, Parts] = OrderedDict()  # by digest, the latest used last
        self._alive: WeakValueDictionary[int, EncodedRun] = WeakValueDictionary()  # by id
        self._recent: OrderedDict[int, EncodedRun] = OrderedDict()  # some of them, the latest used last
        self._bytes = 0  # of the recent ones

    def parts(self, digest: bytes) -> Parts | None:
        """What is known of a medium; None: nothing."""
        if digest in self._known:
            self._known.move_to_end(digest)
        return self._known.get(digest)

    def learn(self, digest: bytes, pieces: list[list[int] | MediaRun]) -> Parts:
        """A medium as its encoder gives it. Where it is known, it has the ids that it had."""
        known = self.parts(digest)
        if known is None:
            known = [Marks(piece) if isinstance(piece, list) else self._named(piece) for piece in pieces]
            self._known[digest] = known
            while len(self._known) > self._max_known:
                self._known.popitem(last=False)
        return known

    def encoded(self, id: int) -> EncodedRun | None:
        """A run whose rows are there; None where they are not."""
        run = self._alive.get(id)
        if run is not None:
            self._keep(run)
        return run

    def add(self, run: EncodedRun) -> None:
        """A run has its rows now."""
        self._alive[run.id] = run
        self._keep(run)

    def _keep(self, run: EncodedRun) -> None:
        if run.id not in self._recent:
            self._bytes += run.rows.nbytes
        self._recent[run.id] = run
        self._recent.move_to_end(run.id)
        while self._bytes > self._max_bytes:
            _, oldest = self._recent.popitem(last=False)
            self._bytes -= oldest.rows.nbytes

    def _named(self, run: MediaRun) -> KnownRun:
        return KnownRun(next(self._ids), run.tokens, run.positions, run.atomic)
