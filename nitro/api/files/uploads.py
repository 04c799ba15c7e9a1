"""Receives one upload: the form is read and the file kept as it comes, so that neither is ever in memory as a whole."""

from litestar import Request

from nitro.api import users
from nitro.api.endpoint import chunks_of
from nitro.api.files import expiry
from nitro.api.files.form_reader import FormReader
from nitro.api.files.schema import PURPOSES
from nitro.api.responses.keeping import new_id
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.state import files
from nitro.state.file_store import DAY, FileStore
from nitro.state.files import PIECE, File, NoRoom

TOGETHER = 2**20  # bytes that are written together
USUAL_SECONDS = 30 * DAY  # that a file for a batch is kept
KNOWN = ("purpose", "expires_after")


class Upload:
    """One of them. `longest`: bytes that a file may have."""

    def __init__(self, store: FileStore, longest: int, strict: bool):
        self._store = store
        self._longest = longest
        self._strict = strict
        self._held = bytearray()
        self._number = -1
        self._pieces = 0
        self._bytes = 0
        self.ignored: list[str] = []

    async def receive(self, request: Request) -> File:
        """The file, once it is kept. Raises ApiError, StateError, ClientDisconnected; then nothing is."""
        reader = FormReader(request.headers.get("content-type", ""))
        owner = await self._store.owner()
        id = new_id("file")
        user = users.owner_of(request.scope)
        self._number = await self._store.write(lambda db: files.begin(db, id, owner, user))
        try:
            async for chunk in chunks_of(request):
                for part in reader.feed(chunk):
                    await self._add(part)
            reader.close()
            return await self._finish(reader)
        except BaseException:
            number = self._number
            self._store.begin_write(lambda db: files.remove(db, number))
            raise

    async def _add(self, part: bytes) -> None:
        self._held += part
        self._bytes += len(part)
        if self._bytes > self._longest:
            limit = f"{self._longest // 2**20} MiB"
            raise ApiError(413, f"The file is larger than {limit}; start the server with a larger --max-file.")
        if len(self._held) >= TOGETHER:
            await self._write(len(self._held) // PIECE * PIECE)

    async def _write(self, count: int) -> None:
        """So many of the bytes that are held."""
        held = bytes(self._held[:count])
        del self._held[:count]
        pieces = [held[begin : begin + PIECE] for begin in range(0, count, PIECE)]
        number, first, room = self._number, self._pieces, self._store.size
        self._pieces += len(pieces)
        try:
            await self._store.write(lambda db: files.add(db, number, first, pieces, room))
        except NoRoom:
            why = f"All files together would be larger than {room // 2**30} GiB (--files-size). Delete some."
            raise ApiError(507, why, type="server_error", code="files_full") from None

    async def _finish(self, reader: FormReader) -> File:
        fields = reader.fields
        purpose = fields.get("purpose")
        if purpose is None:
            raise ApiError.missing("purpose")
        if purpose not in PURPOSES:
            raise ApiError.invalid("purpose", f"one of {', '.join(PURPOSES)}")
        seconds = expiry.seconds(fields.get("expires_after"), "expires_after")
        if seconds is None and purpose == "batch":
            seconds = USUAL_SECONDS
        self.ignored = [ignored_parameters.escaped(name) for name in fields if name not in KNOWN]
        if self._strict:
            ignored_parameters.refuse(self.ignored)
        if self._held:
            await self._write(len(self._held))
        number, now, name = self._number, self._store.now, reader.name or ""
        expires = None if seconds is None else now + seconds
        file = await self._store.write(lambda db: files.finish(db, number, now, expires, name, purpose))
        if file is None:
            raise ApiError(503, "The upload was lost. Send it again.", type="server_error", retry_after=1)
        return file
