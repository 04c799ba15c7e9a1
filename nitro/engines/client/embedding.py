"""One request for embeddings on its way through an engine, as the server sees it."""

import asyncio
from collections.abc import Callable

from nitro.engines.messages import EmbeddingFailed
from nitro.errors import EngineError, RequestTooLarge, SequenceFailed


class Embedding:
    """The vectors of one request's inputs, as they come. Made by `Engine.embed`. `abort` may be called at any time."""

    def __init__(self, id: int, inputs: int, digest: bytes, ended: Callable[["Embedding", bool], None], user: str = ""):
        """`ended`: told once whether the engine has done all of it."""
        loop = asyncio.get_running_loop()
        self.id = id
        self.user = user  # whose it is
        self.digest = digest
        self.prompt_tokens = 0  # of all inputs, as they are computed
        self.accepted: asyncio.Future[None] = loop.create_future()
        self._vectors: list[bytes | None] = [None] * inputs
        self._missing = inputs
        self._done: asyncio.Future[None] = loop.create_future()
        self._tell_ended: Callable[[Embedding, bool], None] | None = ended

    async def vectors(self) -> list[bytes]:
        """All of them, in the order of the inputs: float32, little endian, of length 1. Raises EngineError."""
        await asyncio.shield(self._done)
        return [vector for vector in self._vectors if vector is not None]

    def abort(self) -> None:
        """Nobody wants it any more."""
        self._end(completed=False)

    def _end(self, completed: bool) -> None:
        tell, self._tell_ended = self._tell_ended, None
        if tell:
            tell(self, completed)

    # Called as frames arrive

    def accept(self, prompt_tokens: int) -> None:
        """The engine has queued its inputs."""
        self.prompt_tokens = prompt_tokens
        if not self.accepted.done():
            self.accepted.set_result(None)

    def deliver(self, places: list[int], vectors: list[bytes]) -> None:
        """Vectors of some inputs."""
        for place, vector in zip(places, vectors, strict=True):
            self._vectors[place] = vector
        self._missing -= len(places)
        if not self._missing:
            self._end(completed=True)
            if not self._done.done():
                self._done.set_result(None)

    def failed(self, message: EmbeddingFailed) -> None:
        """A step failed."""
        self.fail((RequestTooLarge if message.too_large else SequenceFailed)(message.message))

    def fail(self, error: EngineError) -> None:
        """It ends with `error`."""
        self.abort()
        for future in (self.accepted, self._done):
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen, even if nobody waits any more
