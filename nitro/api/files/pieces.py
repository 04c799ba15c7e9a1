"""Writes a file into the database while it comes, a few pieces at a time."""

from nitro.errors import ApiError
from nitro.state import files
from nitro.state.file_store import FileStore
from nitro.state.files import PIECE, NoRoom

TOGETHER = 2**20  # bytes that are written together


class Pieces:
    """Of one file, by its number. `room`: bytes that all files may have."""

    def __init__(self, store: FileStore, number: int, room: int):
        self._store = store
        self._number = number
        self._room = room
        self._held = bytearray()
        self._count = 0

    async def add(self, data: bytes) -> None:
        """The next bytes. Raises ApiError 507, StateError."""
        self._held += data
        if len(self._held) >= TOGETHER:
            await self._write(len(self._held) // PIECE * PIECE)

    async def end(self) -> None:
        """There are no more. Raises the same."""
        if self._held:
            await self._write(len(self._held))

    async def _write(self, size: int) -> None:
        """So many of the bytes that are held."""
        held = bytes(self._held[:size])
        del self._held[:size]
        pieces = [held[begin : begin + PIECE] for begin in range(0, size, PIECE)]
        number, first, room = self._number, self._count, self._room
        self._count += len(pieces)
        try:
            await self._store.write(lambda db: files.add(db, number, first, pieces, room))
        except NoRoom:
            why = (
                f"All files together would be larger than {self._store.size // 2**30} GiB (--files-size). Delete some."
            )
            raise ApiError(507, why, type="server_error", code="files_full") from None
