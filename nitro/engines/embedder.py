"""The contract between the engine process and whatever makes vectors of token ids.

A runner whose `info.embedding` is set has `embed` beside what a ModelRunner has. One that only embeds is an
`EmbedsOnly`, too: nobody asks it for text. A reranker has `score` instead, and `info.rerank`.
"""

from collections.abc import Callable
from typing import NoReturn, Protocol

from msgspec import Struct

from nitro.engines.adapters import AdapterSource
from nitro.engines.runner import Chunk, Result, Saving, Tokenizer
from nitro.engines.types import ModelInfo, SamplingParams


class Embedder(Protocol):
    """A loaded model that embeds. Called on the engine's thread, between two steps."""

    info: ModelInfo  # with `embedding`
    tokenizer: Tokenizer

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = ...) -> list[bytes]:
        """The pooled vector of each sequence: `width` numbers, float32, little endian, not normalised.

        With `info.embedding.pauses` it is given `meanwhile`, and calls it between its pieces, which last tenths of a
        second: text is generated in there, and the server is told that the engine lives. Without, it need not have that
        argument.

        At most `step_inputs` sequences of `step_tokens` tokens in all, or `lanes` of up to `longest`, specials
        included. Whatever it raises, slots and their caches are as before, and it may be called again.
        """


Found = Callable[[dict[int, bytes]], None]
More = Callable[[int, int], list[list[int]]]


class LanedEmbedder(Embedder, Protocol):
    """One with several `lanes`, none of which waits for another one."""

    def embed_in_lanes(self, sequences: list[list[int]], found: Found, more: More) -> None:
        """Like `embed`, until `more` gives nothing. As soon as a lane is done, `found` is told its vectors, by the
        place of their sequences among all that were given, and `more` is asked for its next ones: of so many tokens in
        all, or one of up to so many. Both are called on the caller's thread. Raises what they raise, too."""


class Pair(Struct, frozen=True):
    """The tokens of a query and a document, with all that a model puts around them."""

    tokens: list[int]
    second: int  # where the second of two texts begins; the number of tokens: they are one text


class Scorer(Protocol):
    """A loaded reranker. Called as an Embedder is."""

    info: ModelInfo  # with `rerank`
    tokenizer: Tokenizer

    def score(self, pairs: list[Pair]) -> list[float]:
        """The logit of each pair: the higher, the better does its document answer its query.

        At most `step_inputs` pairs of `step_tokens` tokens in all, or `lanes`, each of 1 to `longest` tokens. Whatever
        it raises, it may be called again.
        """


class EmbedsOnly:
    """What a ModelRunner has for text, of a model that makes none: there are no slots, and nothing to do."""

    media: None = None
    saving = Saving(why_not="It generates no text.")

    def prepare(self, sampling: SamplingParams) -> None:
        """Nothing."""

    def submit(self, batch: list[Chunk]) -> NoReturn:
        """Never called."""
        raise AssertionError("this model generates no text")

    def collect(self) -> list[Result]:
        """Never called."""
        raise AssertionError("this model generates no text")

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """Never called."""
        raise AssertionError("this model generates no text")

    def load_adapter(self, source: AdapterSource) -> NoReturn:
        """Never called."""
        raise AssertionError("this model takes no adapters")

    def drop_adapter(self, adapter: int) -> None:
        """There is none."""

    def trim(self, slot: int, length: int) -> int:
        """Nothing is held."""
        return 0

    def offload(self, slot: int) -> None:
        """Nothing."""

    def copy(self, src: int, dst: int, length: int) -> int:
        """Nothing is held."""
        return 0

    def export(self, slot: int) -> None:
        """Nothing is held."""

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """Never called."""
        raise AssertionError("this model generates no text")

    def free_sequence(self, sequence_id: int) -> None:
        """Nothing."""

    def release_idle_memory(self) -> None:
        """Nothing."""

    def reset(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
