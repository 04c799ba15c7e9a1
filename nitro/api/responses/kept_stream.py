"""The streamed reply of a response that is kept."""

from collections.abc import Mapping

from nitro.api.reply_writer import ReplyWriter
from nitro.api.responses.keeper import Keeper, WithheldEnd
from nitro.api.stream_response import StreamResponse
from nitro.service.generation import GenerationStream
from nitro.service.requests import Principal


class KeptStream(StreamResponse):
    """Its last bytes go out once the response is in the database. If its client leaves, it is cancelled."""

    def __init__(
        self,
        stream: GenerationStream,
        renderer: WithheldEnd,
        headers: Mapping[str, str],
        principal: Principal,
        keeper: Keeper,
    ):
        super().__init__(stream, renderer, headers, principal)
        self._withheld = renderer
        self._keeper = keeper

    async def deliver(self, writer: ReplyWriter) -> None:
        """See StreamResponse."""
        await super().deliver(writer)
        if last := await self._withheld.last():
            writer.write(last)

    def release(self) -> None:
        """Nobody waits for more of it."""
        super().release()
        self._keeper.leave()
