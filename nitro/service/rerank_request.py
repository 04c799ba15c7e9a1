"""What a protocol asks of the service: how well documents answer a query, checked, in words of no protocol.

A protocol's reader makes a `RerankRequest` of the bytes that came over HTTP; it runs in an intake process. The service
answers it as it does an EmbeddingRequest (`embedding.py`): each document's vector is one number, its logit.
"""

import math
from collections.abc import Callable

from msgspec import Struct

from nitro.engines.types import Overflow
from nitro.models.setup import ModelSetup

MAX_DOCUMENTS = 2**16  # of one request


class RerankRequest(Struct, frozen=True, kw_only=True):
    """One request, whoever makes it. `param_names` maps our names to the protocol's, as in GenerationRequest."""

    queries: list[str]  # one for all documents, or one for each
    documents: list[str]
    listed: bool = True  # whether the request has a list of documents, so that an error names one by its place
    model: str | None = None  # None: whichever is served
    document_tokens: int | None = None  # of a document that are read; None: all
    overflow: Overflow | None = None  # what becomes of a pair that is too long; None: as the server has it
    keep_alive: float | None = None  # seconds that the model stays loaded once it is idle; None: as it was
    reply_options: bytes = b""  # for the protocol alone, which writes the reply
    ignored: list[str] = []  # parameters that have no effect, as they may stand in a header
    param_names: dict[str, str] = {}

    def param(self, name: str) -> str:
        """What the protocol calls a field of ours."""
        return self.param_names.get(name, name)


RerankReader = Callable[[bytes, ModelSetup], RerankRequest]  # raises ApiError 400 with the parameter at fault


def probability(logit: float) -> float:
    """The sigmoid of a score: from 0 to 1, how likely the document is relevant by the model."""
    if logit < 0:
        return math.exp(logit) / (1 + math.exp(logit))
    return 1 / (1 + math.exp(-logit))
