"""Prompts with images and sounds → token ids, and the rows that some of them stand for.

All that reads or encodes a medium is done in the lane "media", on its one thread: so the same picture of two requests
is encoded once, and running streams go on meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from nitro.engines import messages
from nitro.engines.media import Media, MediaKind
from nitro.engines.media_encoder import EncodedRun, MediaEncoder, MediaRejected, MediaRun
from nitro.engines.runner import ModelRunner
from nitro.engines.scheduling.media_table import KnownRun, Marks, MediaTable, Parts
from nitro.engines.types import ModelInfo
from nitro.engines.work import MediaPrompt, Piece
from nitro.engines.worker.jobs import Lane, Rejection, Slices
from nitro.engines.worker.prompt_tokens import PromptTokenizer

LANE: Lane = "media"
TEXT_ONLY = "This model takes text only."
ENDS_WITH_MEDIA = "The prompt ends with an image or a sound; a text must follow it."


@dataclass(slots=True)
class MediaTokens:
    """A prompt as ids. `counts`: of them those that media take, with the marks around them, by kind."""

    tokens: list[int]
    media: list[Media] = field(default_factory=list)  # the work's
    runs: dict[int, EncodedRun] = field(default_factory=dict)  # those that are encoded, by id
    counts: Counter[MediaKind] = field(default_factory=Counter)
    parts: dict[int, Parts] = field(default_factory=dict)  # of each medium, by its place in the work
    # by digest: of those that were read just now, as far as they go into the context
    sources: dict[bytes, list[MediaRun]] = field(default_factory=dict)


class MediaPrompts:
    """Reads the prompts of one model. `read` and `encode` are generators of slices, whose work is in the lane
    "media"."""

    def __init__(self, runner: ModelRunner):
        self._encoder: MediaEncoder | None = runner.media
        self._info: ModelInfo = runner.info
        self._prompts = PromptTokenizer(runner.tokenizer, runner.info)
        self._table = MediaTable()

    def read(self, request_id: int, prompt: MediaPrompt, media: list[Media]) -> Slices[MediaTokens]:
        """The ids of a prompt with places in `media`, which may be too long. Raises Rejection."""
        found = MediaTokens([], media)
        encoder = self._checked(request_id, [media[piece] for piece in prompt.pieces if isinstance(piece, int)])
        yield LANE
        for piece in prompt.pieces:
            if isinstance(piece, str):
                found.tokens += self._prompts.read(request_id, piece)
                continue
            medium = media[piece]
            if self._table.parts(medium.digest) is None:
                yield LANE
            found.parts[piece] = self._parts(request_id, encoder, found, medium)
            ids = _ids(found.parts[piece])
            found.tokens += ids
            found.counts[medium.kind] += len(ids)
            if len(found.tokens) > self._info.context:  # none of it will be encoded
                found.sources.clear()
        return found

    def beginning(self, found: MediaTokens, pieces: Iterable[Piece]) -> list[int]:
        """The ids of a part of a prompt that was read."""
        encode = self._prompts.encode
        ids = (encode(piece) if isinstance(piece, str) else _ids(found.parts[piece]) for piece in pieces)
        return list(chain.from_iterable(ids))

    def check(self, request_id: int, found: MediaTokens) -> None:
        """Raise Rejection where no answer can follow."""
        self._prompts.check_length(request_id, found.tokens)
        if found.tokens[-1] < 0:
            raise Rejection(messages.Rejected(request_id, ENDS_WITH_MEDIA, found.media[max(found.parts)].param))

    def encode(self, request_id: int, found: MediaTokens) -> Slices[None]:
        """Have the rows of a prompt that was read. Raises Rejection."""
        encoder = self._checked(request_id, [])
        for piece, parts in found.parts.items():
            yield LANE
            medium = found.media[piece]
            for place, known in enumerate(part for part in parts if not isinstance(part, Marks)):
                run = found.runs.get(known.id) or self._table.encoded(known.id)
                if run is None:
                    yield LANE  # meanwhile another request may have it encoded
                    run = self._table.encoded(known.id)
                if run is None:
                    source = self._sources(request_id, encoder, found, medium)[place]
                    run = self._encoded(request_id, encoder, medium, known, source)
                found.runs[known.id] = run
            found.sources.pop(medium.digest, None)

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

    def _parts(self, request_id: int, encoder: MediaEncoder, found: MediaTokens, medium: Media) -> Parts:
        """Those that are known or, if they were forgotten since, new ones."""
        parts = self._table.parts(medium.digest)
        if parts is None:
            self._sources(request_id, encoder, found, medium)
            parts = self._table.parts(medium.digest)
        assert parts is not None
        return parts

    def _sources(self, request_id: int, encoder: MediaEncoder, found: MediaTokens, medium: Media) -> list[MediaRun]:
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


def _ids(parts: Parts) -> list[int]:
    return [id for part in parts for id in part.ids]


def _refusal(request_id: int, medium: Media, error: MediaRejected) -> Rejection:
    return Rejection(messages.Rejected(request_id, f"Invalid value for '{medium.param}': {error}", medium.param))
