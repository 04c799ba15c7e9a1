"""Vectors for every protocol: `EmbeddingService.embed`, from the request's bytes to `Embedded`. Knows no HTTP.

A request is read in an intake process, as one for text is, and its inputs are embedded in the engine, together with
other requests'. A client that disconnects aborts what is not computed yet.
"""

import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from nitro.engines.types import Overflow
from nitro.models.lease import Lease
from nitro.models.pool import Pool
from nitro.service import endings, follower, keep_alive
from nitro.service.asked import Asked
from nitro.service.disconnects import unless_disconnected
from nitro.service.intake.lanes import Intake
from nitro.service.intake.messages import PreparedEmbedding
from nitro.service.live.requests import Requests
from nitro.service.metrics import Metrics
from nitro.service.request_log import RequestLog
from nitro.service.requests import Principal, RawRequest


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of a request's inputs, in their order."""

    model: str
    vectors: list[bytes]  # float32, little endian, of length 1
    tokens: int  # of all inputs together, as they were computed
    created: int  # Unix time
    seconds: float  # that it took
    load_seconds: float  # of these, until the model was there
    reply_options: bytes
    ignored: list[str]  # parameters without effect, as they may stand in a header

    def numbers(self, place: int) -> "array[float]":
        """The vector of one input, as numbers."""
        return _numbers(self.vectors[place])

    def scores(self) -> "array[float]":
        """Of a reranker, whose vectors are one number each: all of them."""
        return _numbers(b"".join(self.vectors))


def _numbers(floats: bytes) -> "array[float]":
    numbers = array("f", floats)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class EmbeddingService:
    """Embeddings of the models of one server. Belongs to the event loop."""

    def __init__(
        self,
        models: Pool,
        intake: Intake,
        metrics: Metrics,
        strict: bool = False,
        overflow: Overflow = "error",
        requests: Requests | None = None,
    ):
        """`strict`: parameters that would be ignored are refused. `overflow`: what becomes of inputs that are too
        long, where a request does not say. `requests`: those of the server, to be told of."""
        self._models = models
        self._intake = intake
        self._metrics = metrics
        self._strict = strict
        self._overflow = overflow
        self._requests = requests or Requests()

    async def embed(
        self, raw: RawRequest, principal: Principal, asked: Callable[[Asked], None] | None = None
    ) -> Embedded:
        """Read the request and embed its inputs; `raw.reader` is an EmbeddingReader's place. `asked`: as in
        GenerationService.generate.

        Raises ApiError for everything that is wrong with it or keeps the engine from it, and ClientDisconnected.
        """
        lease: Lease | None = None
        log = follower.begin(principal, self._metrics, self._requests)
        try:
            body = await raw.body()
            known = await unless_disconnected(principal, self._asked(raw, body, principal))
            if asked:
                asked(known)
            lease = self._models.lease(known.model, principal.rights, principal.share(known.tier).tier)
            embedded = await unless_disconnected(principal, self._embedded(raw, body, principal, lease, log))
            log.end()
            return embedded
        except BaseException as error:
            endings.end(error, log, raw.prompt_param)
            raise
        finally:
            if lease:
                lease.release()

    async def _asked(self, raw: RawRequest, body: list[bytes], principal: Principal) -> Asked:
        """As in GenerationService."""
        if raw.asked:
            return raw.asked
        limited = principal.rights.models is not None
        if raw.namer and (limited or self._models.by_name or not self._models.default_ready):
            return await self._intake.name(raw.namer, body)
        return Asked()

    async def _embedded(
        self, raw: RawRequest, body: list[bytes], principal: Principal, lease: Lease, log: RequestLog
    ) -> Embedded:
        began = time.monotonic()
        model = await lease.acquire()
        log.of(model.source.id)
        info = await model.engine.ready()
        loaded = time.monotonic()
        prepared = await self._intake.read_embedding(model.setup(info), raw.reader, body, self._strict, lease.found)
        prepared = keep_alive.applied(lease, prepared, principal)
        log.ignored = prepared.ignored
        log.fingerprint = model.fingerprint(info)
        if prepared.unknown_model:
            self._models.note(prepared.unknown_model)
        if not prepared.work.inputs:
            return _embedded(model.source.id, prepared, 0, [], (began, loaded))
        embedding = await model.engine.embed(prepared.work, self._overflow, principal.user)
        log.embedded(prepared.work.inputs, embedding.prompt_tokens)
        try:
            vectors = await embedding.vectors()
        finally:
            embedding.abort()
        return _embedded(model.source.id, prepared, embedding.prompt_tokens, vectors, (began, loaded))


def _embedded(
    model: str, prepared: PreparedEmbedding, tokens: int, vectors: list[bytes], times: tuple[float, float]
) -> Embedded:
    began, loaded = times
    return Embedded(
        model=model,
        vectors=vectors,
        tokens=tokens,
        created=int(time.time()),
        seconds=time.monotonic() - began,
        load_seconds=loaded - began,
        reply_options=prepared.reply_options,
        ignored=prepared.ignored,
    )
