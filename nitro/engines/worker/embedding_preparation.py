"""An Embed's work → pieces of token ids that the model can embed. Done in slices, as `preparation.py` is."""

from __future__ import annotations

from nitro.engines import messages
from nitro.engines.embedder import Embedder, Scorer
from nitro.engines.scheduling.embedding_queue import Piece
from nitro.engines.types import EmbeddingInfo, Overflow
from nitro.engines.work import EmbeddingWork, decode_embedding_work
from nitro.engines.worker.embeddings import EmbeddingTask
from nitro.engines.worker.jobs import JobResult, Rejection, Slices, first_lane
from nitro.engines.worker.pair_preparation import PairPreparation

INPUTS_PER_SLICE = 32
# A text of more characters than both of these may be too long, and is read in parts.
CHARS_PER_TOKEN = 16  # of the longest input
MIN_CHARS = 2**16
NO_EMBEDDINGS = "This model makes no embeddings."


class EmbeddingPreparation:
    """Prepares embeddings for one model. Any thread may use it; of each request one at a time."""

    def __init__(self, runner: Embedder | Scorer):
        self._tokenizer = runner.tokenizer
        self._pairs = PairPreparation(runner.tokenizer, runner.info)
        self._vocabulary = runner.info.vocabulary
        self._info = runner.info.embedding

    def slices(self, id: int, raw: bytes, overflow: Overflow, user: str = "") -> Slices[JobResult]:
        """Prepare the request of this user; `raw` is an encoded EmbeddingWork, `overflow` is for one that says none.
        Raises Rejection, or anything at all for what nobody foresaw."""
        result = yield from self._slices(id, raw, overflow)
        if result.embedding:
            result.embedding.user = user
        return result

    def _slices(self, id: int, raw: bytes, overflow: Overflow) -> Slices[JobResult]:
        work = decode_embedding_work(raw)
        if work.queries:
            return (yield from self._pairs.slices(id, work, first_lane(raw), work.overflow or overflow))
        if self._info is None:
            raise Rejection(messages.Rejected(id, NO_EMBEDDINGS, "model"))
        lane = first_lane(raw) if len(work.inputs) <= INPUTS_PER_SLICE else "long"
        pieces: list[Piece] = []
        counts: list[int] = []
        for place in range(len(work.inputs)):
            if place % INPUTS_PER_SLICE == 0 and (place or lane != first_lane(raw)):
                yield lane
            found = self._pieces(id, work, place, work.overflow or overflow, self._info)
            counts.append(len(found))
            pieces += [Piece(id, place, tokens) for tokens in found]
        tokens = sum(len(piece.tokens) for piece in pieces)
        task = EmbeddingTask(id, pieces, counts, work.dimensions)
        return JobResult(messages.Accepted(id, tokens), embedding=task)

    def _pieces(
        self, id: int, work: EmbeddingWork, place: int, overflow: Overflow, info: EmbeddingInfo
    ) -> list[list[int]]:
        """The token ids of an input, in pieces that are not too long. Raises Rejection."""
        given = work.inputs[place]
        name = work.name(place)
        before, after = (info.before, info.after) if isinstance(given, str) else ([], [])
        room = info.longest - len(before) - len(after)
        if isinstance(given, str):
            tokens = self._encode(id, given, name, overflow, info)
        else:
            tokens = given
        if not (tokens or before or after):
            raise Rejection(messages.Rejected(id, f"Invalid value for '{name}': it holds no token.", name))
        if tokens and (min(tokens) < 0 or max(tokens) >= self._vocabulary):
            problem = f"'{name}' holds a token that is not in the model's vocabulary (0 to {self._vocabulary - 1})."
            raise Rejection(messages.Rejected(id, problem, name))
        if len(tokens) <= room:
            return [before + tokens + after]
        if overflow == "error":
            length = len(tokens) + len(before) + len(after)
            raise Rejection(messages.TooLong(id, length, info.longest, param=name))
        starts = range(0, len(tokens), room) if overflow == "mean" else [0]
        return [before + tokens[start : start + room] + after for start in starts]

    def _encode(self, id: int, text: str, name: str, overflow: Overflow, info: EmbeddingInfo) -> list[int]:
        """A tokenizer may take minutes for megabytes: of a text that can hardly fit only the beginning is read, unless
        all of it counts. Raises Rejection."""
        encode = self._tokenizer.encode
        length = max(CHARS_PER_TOKEN * info.longest, MIN_CHARS)
        while overflow != "mean" and length < len(text):
            tokens = encode(text[:length])
            if len(tokens) > 2 * info.longest:  # near the cut a few tokens may differ
                if overflow == "truncate":
                    return tokens
                raise Rejection(messages.TooLong(id, len(tokens), info.longest, partly=True, param=name))
            length *= 2
        return encode(text)
