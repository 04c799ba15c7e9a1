"""Receives one upload: the form is read and the file kept as it comes, so that neither is ever in memory as a whole."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from litestar import Request

from nitro.api import users
from nitro.api.audio.form import FILE
from nitro.api.endpoint import chunks_of
from nitro.api.files import expiry
from nitro.api.files.form_reader import FormReader
from nitro.api.files.pieces import Pieces
from nitro.api.responses.keeping import new_id
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.state import files
from nitro.state.file_store import FileStore
from nitro.state.files import File

T = TypeVar("T")

KNOWN = ("purpose", "expires_after")


def lost() -> ApiError:
    """503: it was taken for that of a server that has ended."""
    return ApiError(503, "The upload was lost. Send it again.", type="server_error", retry_after=1)


class Upload:
    """One of them. `longest`: bytes that a file may have."""

    def __init__(self, store: FileStore, longest: int, strict: bool):
        self._store = store
        self._longest = longest
        self._strict = strict
        self._number = -1
        self._bytes = 0
        self.ignored: list[str] = []

    async def receive(self, request: Request) -> File:
        """The file, once it is kept. Raises ApiError, StateError, ClientDisconnected; then nothing is."""
        limit = f"The file is larger than {self._longest // 2**20} MiB; start the server with a larger --max-file."
        return await self.taken(request, FILE, limit, self._finish)

    async def taken(
        self, request: Request, field: str, limit: str, finish: Callable[[FormReader, int], Awaitable[T]]
    ) -> T:
        """What `finish` makes of the form and of the number of the file in it, which is the one in `field`. `limit`:
        what is said of one that is too large. Raises what `receive` and `finish` do."""
        reader = FormReader(request.headers.get("content-type", ""), field)
        owner = await self._store.owner()
        id = new_id("file")
        user = users.owner_of(request.scope)
        number = await self._store.write(lambda db: files.begin(db, id, owner, user))
        pieces = Pieces(self._store, number, self._store.size)
        try:
            async for chunk in chunks_of(request):
                for part in reader.feed(chunk):
                    self._bytes += len(part)
                    if self._bytes > self._longest:
                        raise ApiError(413, limit)
                    await pieces.add(part)
            reader.close()
            await pieces.end()
            return await finish(reader, number)
        except BaseException:
            self._store.begin_write(lambda db: files.remove(db, number))
            raise

    async def _finish(self, reader: FormReader, number: int) -> File:
        fields = reader.fields
        purpose = fields.get("purpose")
        if purpose is None:
            raise ApiError.missing("purpose")
        usual = expiry.usual_seconds(purpose)
        seconds = expiry.seconds(fields.get("expires_after"), "expires_after") or usual
        self.note(fields, KNOWN)
        now, name = self._store.now, reader.name or ""
        expires = None if seconds is None else now + seconds
        file = await self._store.write(lambda db: files.finish(db, number, now, expires, name, purpose))
        if file is None:
            raise lost()
        return file

    def note(self, fields: dict[str, object], known: tuple[str, ...]) -> None:
        """Those of the form that are not known have no effect. Raises ApiError 400 where that is refused."""
        self.ignored = [ignored_parameters.escaped(name) for name in fields if name not in known]
        if self._strict:
            ignored_parameters.refuse(self.ignored)
