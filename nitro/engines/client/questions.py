"""What is asked of an engine and answered by one message, at once: how many tokens a text has, say.

Not a generation: it takes no step and no slot, and no place in the queue.
"""

import asyncio
from collections.abc import Callable, Collection

from nitro.engines import messages
from nitro.errors import EngineBusy, EngineDied, EngineError
from nitro.system.frames import WireMessage

MAX_QUESTIONS = 256  # that wait for their answers


class Questions:
    """Questions under way, by id. Every method belongs to the event loop."""

    def __init__(self, send: Callable[[WireMessage], None]):
        self._send = send
        self._open: dict[int, tuple[asyncio.Future[messages.Answer], bytes]] = {}  # and the digests of their work

    async def ask(self, question: messages.Question, digest: bytes) -> messages.Answer:
        """The answer. Raises EngineBusy, PromptRejected, PromptTooLong, or what the engine's end is told with. If it is
        cancelled, the engine forgets the question."""
        if len(self._open) >= MAX_QUESTIONS:
            raise EngineBusy(f"{MAX_QUESTIONS} questions wait for the tokenizer, and no more may queue.")
        answered: asyncio.Future[messages.Answer] = asyncio.get_running_loop().create_future()
        self._open[question.id] = answered, digest
        try:
            self._send(question)
            return await answered
        except asyncio.CancelledError:
            self._send(messages.Abort([question.id]))
            raise
        finally:
            del self._open[question.id]

    def digests(self, ids: Collection[int]) -> set[bytes]:
        """Of the work of these questions, as far as they are open."""
        return {self._open[id][1] for id in ids if id in self._open}

    def answered(self, message: messages.Answer) -> None:
        """The engine's answer."""
        if (asked := self._open.get(message.id)) and not asked[0].done():
            asked[0].set_result(message)

    def fail(self, id: int, error: EngineError) -> None:
        """There is no answer to this one."""
        if (asked := self._open.get(id)) and not asked[0].done():
            asked[0].set_exception(error)

    def blame(self, ids: Collection[int], reason: str) -> None:
        """The engine died for this `reason`, at work on these."""
        for id in ids:
            self.fail(id, EngineDied(f"{reason} It was at work on this request, which may be the cause."))

    def fail_all(self, error: EngineError) -> None:
        """There is no answer to any."""
        for id in list(self._open):
            self.fail(id, error)
