"""What a protocol asks of the service: vectors of some inputs, checked, in words of no protocol.

A protocol's reader makes an `EmbeddingRequest` of the bytes that came over HTTP; it runs in an intake process.
"""

from collections.abc import Callable

from msgspec import Struct

from nitro.engines.types import Overflow
from nitro.models.setup import ModelSetup

MAX_INPUTS = 2**16  # of one request


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """One request, whoever makes it. `param_names` maps our names to the protocol's, as in GenerationRequest."""

    inputs: list[str | list[int]]  # texts, or token ids, which are taken as they are
    listed: bool = True  # whether the request has a list of them, so that an error names one by its place
    model: str | None = None  # None: whichever is served
    dimensions: int | None = None  # numbers of each vector; None: all that the model gives
    input_type: str | None = None  # of a text: what it is for, as the model's configuration or another server calls it
    overflow: Overflow | None = None  # what becomes of an input that is too long; None: as the server has it
    keep_alive: float | None = None  # seconds that the model stays loaded once it is idle; None: as it was
    reply_options: bytes = b""  # for the protocol alone, which writes the reply
    ignored: list[str] = []  # parameters that have no effect, as they may stand in a header
    param_names: dict[str, str] = {}

    def param(self, name: str) -> str:
        """What the protocol calls a field of ours."""
        return self.param_names.get(name, name)


EmbeddingReader = Callable[[bytes, ModelSetup], EmbeddingRequest]  # raises ApiError 400 with the parameter at fault
