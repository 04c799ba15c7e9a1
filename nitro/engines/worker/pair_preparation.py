"""Queries and documents → pairs of token ids that a reranker can score. Done in slices, as `preparation.py` is."""

from nitro.engines import messages
from nitro.engines.runner import Tokenizer
from nitro.engines.scheduling.embedding_queue import Piece
from nitro.engines.types import ModelInfo, Overflow, RerankInfo
from nitro.engines.work import EmbeddingWork
from nitro.engines.worker.embeddings import EmbeddingTask
from nitro.engines.worker.jobs import JobResult, Lane, Rejection, Slices

DOCUMENTS_PER_SLICE = 32
# A text of more characters than both of these may be too long, and is read in parts.
CHARS_PER_TOKEN = 16  # of the longest pair
MIN_CHARS = 2**16
NO_RERANKER = "This model is no reranker."


class PairPreparation:
    """Prepares scores for one model. Any thread may use it; of each request one at a time."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self._tokenizer = tokenizer
        self._vocabulary = info.vocabulary
        self._info = info.rerank

    def slices(self, id: int, work: EmbeddingWork, lane: Lane, overflow: Overflow) -> Slices[JobResult]:
        """Prepare the request. Raises Rejection, or anything at all for what nobody foresaw."""
        if self._info is None:
            raise Rejection(messages.Rejected(id, NO_RERANKER, "model"))
        if len(work.inputs) > DOCUMENTS_PER_SLICE:
            lane = "long"
        pieces: list[Piece] = []
        for place in range(len(work.inputs)):
            if place % DOCUMENTS_PER_SLICE == 0 and (place or lane == "long"):
                yield lane
            pieces.append(self._piece(id, work, place, overflow, self._info))
        tokens = sum(len(piece.tokens) for piece in pieces)
        task = EmbeddingTask(id, pieces, [1] * len(pieces), None, scores=True)
        return JobResult(messages.Accepted(id, tokens), embedding=task)

    def _piece(self, id: int, work: EmbeddingWork, place: int, overflow: Overflow, info: RerankInfo) -> Piece:
        """Raises Rejection for a pair that is too long, unless it may be cut: then the document loses its end."""
        start, tokens, whole = self._parts(work.query(place), work.inputs[place], info)
        room = info.longest - len(start) - len(info.after)
        limit = len(tokens) if work.document_tokens is None else work.document_tokens
        if min(len(tokens), limit) > room and (room < 0 or overflow != "truncate"):
            length = len(start) + min(len(tokens), limit) + len(info.after)
            name = work.query_param if room < 0 else work.name(place)
            raise Rejection(messages.TooLong(id, length, info.longest, partly=not whole, param=name))
        pair = [*start, *tokens[: min(room, limit)], *info.after]
        if max(pair) >= self._vocabulary:
            name = work.name(place)
            problem = f"'{name}' or the query holds a token that is not in the model's vocabulary."
            raise Rejection(messages.Rejected(id, problem, name))
        return Piece(id, place, pair, len(pair) if info.text else len(start))

    def _parts(self, query: str, document: str | list[int], info: RerankInfo) -> tuple[list[int], list[int], bool]:
        """The tokens before the document's own, those, and whether all of it was read."""
        assert isinstance(document, str)
        asked, _ = self._encoded(query, info)
        if not info.text:
            tokens, whole = self._encoded(document, info)
            return [*info.before, *asked, *info.between], tokens, whole
        if len(asked) > info.longest:  # nothing else matters, and it may be megabytes
            return [*info.before, *asked], [], False
        head = _filled(info.text, query)
        tokens, whole = self._encoded(head + document, info)  # tokens may reach over the border between the two
        count = len(self._tokenizer.encode(head))
        return [*info.before, *tokens[:count]], tokens[count:], whole

    def _encoded(self, text: str, info: RerankInfo) -> tuple[list[int], bool]:
        """Tokens of a text, and whether they are all: of one that can hardly fit only the beginning is read."""
        length = max(CHARS_PER_TOKEN * info.longest, MIN_CHARS)
        while length < len(text):
            tokens = self._tokenizer.encode(text[:length])
            if len(tokens) > 2 * info.longest:  # near the cut a few tokens may differ
                return tokens, False
            length *= 2
        return self._tokenizer.encode(text), True


def _filled(template: str, query: str) -> str:
    """The template's text up to the document, with which it ends."""
    return template.removesuffix("{document}").replace("{query}", query)
