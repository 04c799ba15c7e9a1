"""What a request wants of an engine, as bytes: made where the request is read, opened only in the engine process.

Between them nobody looks inside. Pure and quick to import, so that any process of ours can make it.
"""

from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from nitro.engines.types import GenerationParams
from nitro.errors import PromptRejected

DIGEST = 16  # bytes


class Work(msgspec.Struct, frozen=True):
    """n sequences on each prompt, a text or token ids. Sequence i of a prompt draws with `params.sampling.seed + i`."""

    prompts: list[str | list[int]]
    params: GenerationParams
    n: int


class EncodedWork(msgspec.Struct, frozen=True):
    """A Work in msgpack, and what the server needs to know of it. `digest` is the same for all that are alike: of the
    prompts and of all that is asked, but for the seed."""

    raw: bytes
    prompts: int
    n: int
    digest: bytes

    @property
    def sequences(self) -> int:
        return self.prompts * self.n


_encode = msgspec.msgpack.Encoder().encode
decode_work = msgspec.msgpack.Decoder(Work).decode


def encode_work(prompts: list[str | list[int]], params: GenerationParams, n: int = 1) -> EncodedWork:
    """Raises PromptRejected for what has no encoding: half a surrogate pair, a number of more than 64 bits."""
    try:
        raw = _encode(Work(prompts, params, n))
        alike = blake2b(_encode(prompts), digest_size=DIGEST)
        alike.update(_encode(replace(params, sampling=replace(params.sampling, seed=0))))
    except (OverflowError, TypeError, ValueError) as error:
        raise PromptRejected(f"The request cannot be handed to the engine: {error}.", None) from None
    return EncodedWork(raw, len(prompts), n, alike.digest())
