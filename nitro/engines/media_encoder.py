"""What turns an image or a sound into rows that a model computes in the place of tokens. Beside runner.Tokenizer.

In a prompt's list of ids, a run of media is one negative id, as often as it has rows: see scheduling/media_table.py.
Ids below zero are nothing that a vocabulary, a sampler, a grammar or a draft knows.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from nitro.engines.media import Media
from nitro.errors import Sentence


class MediaRejected(Sentence):
    """This medium cannot be taken. The message is one sentence for whoever sent it."""


class Rows(Protocol):
    """What an encoder has computed, as its runner takes it: an array, and what belongs to it."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""


class MediaRun(Struct, frozen=True):
    """A part of a medium that is not encoded yet.

    `tokens`: its rows, each of which takes a cell of the KV cache. `positions`: by how many the position goes on; of
    models with M-RoPE fewer than rows. `atomic`: it is computed whole, and what holds it is never cut inside.
    """

    tokens: int
    positions: int
    atomic: bool
    source: Any = None  # the encoder's own; whoever holds it holds the decoded medium


class EncodedRun(Struct, frozen=True, eq=False, weakref=True):
    """A run and its rows. `id`: what stands for each of its rows in a list of tokens; negative."""

    id: int
    tokens: int
    positions: int
    atomic: bool
    rows: Rows


EncodedRuns = Mapping[int, EncodedRun]  # by id
NO_RUNS: EncodedRuns = {}


class MediaEncoder(Protocol):
    """Made with the model, and closed by it. Both methods are called on one thread, which is not the engine's."""

    def pieces(self, media: Media) -> list[list[int] | MediaRun]:
        """A medium as the model takes it: runs, among token ids that open, part and close them. Raises MediaRejected
        for what is no such medium, or none that this model takes."""

    def encode(self, run: MediaRun) -> Rows:
        """Its rows, which takes long. Raises MediaRejected where that fails for a fault of the medium."""
