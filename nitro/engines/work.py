"""What a request wants of an engine, as bytes: made where the request is read, opened only in the engine process.

Between them nobody looks inside. Pure and quick to import, so that any process of ours can make it.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from nitro.engines.adapters import AdapterSet
from nitro.engines.media import Media
from nitro.engines.types import GenerationParams, Overflow
from nitro.errors import PromptRejected

DIGEST_SIZE = 16  # bytes


class Keep(msgspec.Struct, frozen=True):
    """A beginning of a prompt that is to stay in the prefix cache for `seconds` after it was last used. `end`:
    characters of a text, or tokens; None: all. `key`: it takes the place of what was kept under the same one."""

    seconds: float
    end: int | None = None
    key: str | None = None


Piece = str | int  # a text, in which control tokens are parsed; or a place in the work's `media`


class MediaPrompt(msgspec.Struct, frozen=True):
    """A prompt with images or sounds in it. Where a place stands, the engine puts the medium, and the model's own marks
    before and after it."""

    pieces: list[Piece]


Prompt = str | list[int] | MediaPrompt  # a list: token ids


class Work(msgspec.Struct, frozen=True):
    """n sequences on each prompt. Sequence i of a prompt draws with `params.sampling.seed + i`."""

    prompts: list[Prompt]
    params: GenerationParams
    n: int
    keeps: list[Keep] = []  # of the first prompt
    media: list[Media] = []
    adapters: AdapterSet = ()  # that are applied


class EncodedWork(msgspec.Struct, frozen=True):
    """A Work in msgpack, and what the server needs to know of it."""

    raw: bytes
    prompts: int  # how many
    n: int  # sequences on each
    digest: bytes  # of prompts, parameters but for the seed, and adapters: the same for requests that are alike

    @property
    def sequences(self) -> int:
        """How many there are in all."""
        return self.prompts * self.n


class EmbeddingWork(msgspec.Struct, frozen=True):
    """Inputs to be embedded: texts with their prefix, or token ids, which are taken as they are.

    With `queries` they are documents, texts, each of which is scored for the query at its place, or for the only one.
    """

    inputs: list[str | list[int]]
    param: str  # what the request calls them
    listed: bool = True  # whether errors name an input by its place
    dimensions: int | None = None  # numbers of each vector; None: all
    overflow: Overflow | None = None  # None: as the server has it
    queries: list[str] = []
    query_param: str = "query"  # what the request calls them
    document_tokens: int | None = None  # of a document that are read; None: all

    def query(self, place: int) -> str:
        """The query for the document at this place."""
        return self.queries[0] if len(self.queries) == 1 else self.queries[place]

    def name(self, place: int) -> str:
        """What the request calls the input at this place."""
        return f"{self.param}[{place}]" if self.listed else self.param


class EncodedEmbeddingWork(msgspec.Struct, frozen=True):
    """An EmbeddingWork in msgpack, and what the server needs to know of it."""

    raw: bytes
    inputs: int  # how many
    digest: bytes


_encode = msgspec.msgpack.Encoder().encode
decode_work = msgspec.msgpack.Decoder(Work).decode
decode_embedding_work = msgspec.msgpack.Decoder(EmbeddingWork).decode


def encode_work(
    prompts: Sequence[Prompt],
    params: GenerationParams,
    n: int = 1,
    keeps: Sequence[Keep] = (),
    media: Sequence[Media] = (),
    *,
    adapters: AdapterSet = (),
) -> EncodedWork:
    """Raises PromptRejected for what has no encoding: half a surrogate pair, a number of more than 64 bits."""
    try:
        raw = _encode(Work(list(prompts), params, n, list(keeps), list(media), adapters))
        digest = blake2b(_encode(prompts), digest_size=DIGEST_SIZE)
        for medium in media:
            digest.update(medium.digest)
        digest.update(_encode(replace(params, sampling=replace(params.sampling, seed=0))))
        digest.update(_encode(adapters))
    except (OverflowError, TypeError, ValueError) as error:
        raise PromptRejected(f"The request cannot be handed to the engine: {error}.", None) from None
    return EncodedWork(raw, len(prompts), n, digest.digest())


def encode_embedding_work(work: EmbeddingWork) -> EncodedEmbeddingWork:
    """Raises PromptRejected for what has no encoding, as `encode_work` does."""
    try:
        raw = _encode(work)
    except (OverflowError, TypeError, ValueError) as error:
        raise PromptRejected(f"The request cannot be handed to the engine: {error}.", work.param) from None
    return EncodedEmbeddingWork(raw, len(work.inputs), blake2b(raw, digest_size=DIGEST_SIZE).digest())
