"""What became of the images and sounds of requests before: a conversation brings the same ones with every turn.

A file is known by the SHA-256 of its bytes, its kind, and what it was held to. Of a file that an engine gets as it came
no more is kept than that; of one that was written anew, what was written, as much as goes into `max_bytes`. Refused
files are looked at anew. For one process, as long as it lives.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import sha256

from msgspec import Struct

from nitro.engines.media import Media, MediaKind

MAX_BYTES = 2**26  # of files that were written anew
MAX_FILES = 1024

_Key = tuple[bytes, Hashable]


class _Result(Struct, frozen=True):
    """`data` None: the file is taken as it came."""

    data: bytes | None
    digest: bytes
    seconds: float

    @property
    def size(self) -> int:
        return len(self.data or b"")


class KeptFiles:
    """The latest used files, and what an engine gets for each."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES):
        self._max_bytes, self._max_files = max_bytes, max_files
        self._results: OrderedDict[_Key, _Result] = OrderedDict()  # the latest used last
        self._bytes = 0

    def media(
        self,
        kind: MediaKind,
        data: bytes,
        held_to: Hashable,
        param: str,
        check: Callable[[], tuple[bytes, float]],
    ) -> Media:
        """A file as an engine gets it: as `check` has returned it, with its seconds, for the same bytes that were
        `held_to` the same. Raises what `check` raises."""
        digest = sha256(data).digest()
        key = digest, (kind, held_to)
        result = self._results.get(key)
        if result is None:
            made, seconds = check()
            same = made == data
            result = _Result(None if same else made, digest if same else sha256(made).digest(), seconds)
            self._keep(key, result)
        else:
            self._results.move_to_end(key)
        return Media(kind, data if result.data is None else result.data, result.digest, param, result.seconds)

    def _keep(self, key: _Key, result: _Result) -> None:
        if result.size > self._max_bytes:
            return
        self._results[key] = result
        self._bytes += result.size
        while self._bytes > self._max_bytes or len(self._results) > self._max_files:
            _, oldest = self._results.popitem(last=False)
            self._bytes -= oldest.size
