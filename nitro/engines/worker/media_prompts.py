"""Prompts with images and sounds → token ids, and the rows that some of them stand for.

All that reads or encodes a medium is done in the lane "media", on its one thread: so the same picture of two requests
is encoded once, and running streams go on meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nitro.engines import messages
from nitro.engines.media import Media, MediaKind
from nitro.engines.media_encoder import EncodedRun, MediaEncoder, MediaRejected, MediaRun
from nitro.engines.runner import ModelRunner
from nitro.engines.scheduling.media_table import KnownRun, MediaTable, Parts
from nitro.engines.types import ModelInfo
from nitro.engines.work import Prompt
from nitro.engines.worker.jobs import Lane, Rejection, Slices
from nitro.engines.worker.prompt_tokens import PromptTokenizer

LANE: Lane = "media"
TEXT_ONLY = "This model takes text only."
ENDS_WITH_MEDIA = "The prompt ends with an image or a sound; a text must follow it."


@dataclass(slots=True)
class MediaPrompt:
    """A prompt as ids. `counts`: of them those that are rows of media, by kind."""

    tokens: list[int]
    media: list[Media]  # in the prompt's order
    counts: Counter[MediaKind] = field(default_factory=Counter)
    sources: dict[bytes, list[MediaRun]] = field(default_factory=dict)  # by digest: of those that were read just now


class MediaPrompts:
    """Reads the prompts of one model. `read` and `encode` are generators of slices, whose work is in the lane
    "media"."""

    def __init__(self, runner: ModelRunner, prompts: PromptTokenizer):
        self._encoder: MediaEncoder | None = runner.media
        self._info: ModelInfo = runner.info
        self._prompts = prompts
        self._table = MediaTable()

    def read(self, request_id: int, prompt: Sequence[int | str], media: list[Media]) -> Slices[MediaPrompt]:
        """The ids of a prompt of texts and places in `media`, which may be too long. Raises Rejection."""
        found = MediaPrompt([], [media[piece] for piece in prompt if isinstance(piece, int)])
        encoder = self._checked(request_id, found.media)
        yield LANE
        for piece in prompt:
            if isinstance(piece, str):
                found.tokens += self._prompts.read(request_id, piece)
                continue
            medium = media[piece]
            if self._table.parts(medium.digest) is None:
                yield LANE
                self._sources(request_id, encoder, found, medium)
            for part in self._parts(request_id, encoder, found, medium):
                if isinstance(part, list):
                    found.tokens += part
                else:
                    found.tokens += [part.id] * part.tokens
                    found.counts[medium.kind] += part.tokens
        return found

    def check(self, request_id: int, found: MediaPrompt) -> None:
        """Raise Rejection where no answer can follow."""
        self._prompts.check_length(request_id, found.tokens)
        if found.tokens[-1] < 0:
            raise Rejection(messages.Rejected(request_id, ENDS_WITH_MEDIA, found.media[-1].param))

    def encode(self, request_id: int, found: MediaPrompt) -> Slices[dict[int, EncodedRun]]:
        """The rows of a prompt that was read, by id. Raises Rejection."""
        rows: dict[int, EncodedRun] = {}
        encoder = self._checked(request_id, found.media)
        for medium in found.media:
            yield LANE
            parts = self._parts(request_id, encoder, found, medium)
            for place, known in enumerate(part for part in parts if isinstance(part, KnownRun)):
                run = rows.get(known.id) or self._table.encoded(known.id)
                if run is None:
                    yield LANE
                    source = self._sources(request_id, encoder, found, medium)[place]
                    run = self._encoded(request_id, encoder, medium, known, source)
                rows[known.id] = run
            found.sources.pop(medium.digest, None)
        return rows

    def _checked(self, request_id: int, used: list[Media]) -> MediaEncoder:
        """Raises Rejection for what the model does not take."""
        about = self._info.media
        if self._encoder is None or about is None:
            raise Rejection(messages.Rejected(request_id, TEXT_ONLY, used[0].param if used else None))
        for medium in used:
            if not (about.image if medium.kind == "image" else about.audio):
                takes = "images" if about.image else "sound"
                problem = f"Invalid value for '{medium.param}': of media this model takes {takes} only."
                raise Rejection(messages.Rejected(request_id, problem, medium.param))
        return self._encoder

    def _parts(self, request_id: int, encoder: MediaEncoder, found: MediaPrompt, medium: Media) -> Parts:
        """Those that are known or, if they were forgotten since, new ones."""
        parts = self._table.parts(medium.digest)
        if parts is None:
            self._sources(request_id, encoder, found, medium)
            parts = self._table.parts(medium.digest)
        assert parts is not None
        return parts

    def _sources(
        self, request_id: int, encoder: MediaEncoder, found: MediaPrompt, medium: Media
    ) -> list[MediaRun]:
        """The runs of a medium, to be encoded. It is read once for a request."""
        if medium.digest not in found.sources:
            try:
                pieces = encoder.pieces(medium)
            except MediaRejected as error:
                raise _refusal(request_id, medium, error) from None
            self._table.learn(medium.digest, pieces)
            found.sources[medium.digest] = [piece for piece in pieces if isinstance(piece, MediaRun)]
        return found.sources[medium.digest]

    def _encoded(
        self, request_id: int, encoder: MediaEncoder, medium: Media, known: KnownRun, run: MediaRun
    ) -> EncodedRun:
        try:
            encoded = known.encoded(encoder.encode(run))
        except MediaRejected as error:
            raise _refusal(request_id, medium, error) from None
        self._table.add(encoded)
        return encoded


def has_media(prompt: Prompt) -> bool:
    """Whether a prompt is one of texts and media."""
    return isinstance(prompt, list) and any(isinstance(piece, str) for piece in prompt)


def _refusal(request_id: int, medium: Media, error: MediaRejected) -> Rejection:
    return Rejection(messages.Rejected(request_id, f"Invalid value for '{medium.param}': {error}", medium.param))
