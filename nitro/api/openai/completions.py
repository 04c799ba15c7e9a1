"""`POST /v1/completions`: texts continued, and texts scored (`echo` with `max_tokens` 0 and `logprobs`)."""

from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET, UnsetType

from nitro.api.openai import schema
from nitro.engines.client.generation import Generation
from nitro.engines.types import MIN_LOGPROB, Logprobs, ModelInfo
from nitro.models.handle import ServedModel
from nitro.service.choices import Piece, Replies, Reply, Token
from nitro.service.exchange import head, serve, usage_field
from nitro.service.prepared import CompletionOptions
from nitro.text.detokenizer import Detokenizer

Entry = tuple[str, int, Logprobs | None]  # a token as it is written, where it begins in the text, and its logprobs


@post("/v1/completions", status_code=200)
async def completions(request: Request) -> Response[Any]:
    return await serve(request, "completions", _begin)


def _begin(
    model: ServedModel, info: ModelInfo, options: CompletionOptions, generation: Generation
) -> tuple[Replies, "Texts"]:
    echoes = [
        _Echo(given, written[1:] if bos else written)
        for (given, bos), written in zip(options.echoes, generation.echoes, strict=True)
    ]
    replies = Replies(generation, options.stops, options.mute, predicted=options.predicted)
    return replies, Texts(options, echoes, head("cmpl", model, model.fingerprint(info)))


class _Echo:
    """A prompt as it is repeated: its text, and where its tokens begin in it."""

    def __init__(self, given: str | list[int], written: list[bytes]):
        detokenizer, text, self.tokens = Detokenizer(), "", list[tuple[str, int]]()
        for token in written:
            self.tokens.append((_spelled(token), len(text)))
            text += detokenizer.feed(token)
        text += detokenizer.flush()
        self.text = given if isinstance(given, str) else text
        if text == f" {self.text}":  # SentencePiece puts a space before a text
            self.tokens = [(token, max(begin - 1, 0)) for token, begin in self.tokens]


class Texts:
    """The Format of this route. Choice i is that of prompt i // n."""

    def __init__(self, options: CompletionOptions, echoes: list[_Echo], head: dict[str, Any]):
        self._options, self._echoes, self._head = options, echoes, head
        self._begun: set[int] = set()  # choices whose prompt has been repeated

    def whole(self, replies: Replies) -> schema.Completion:
        best_of, n = self._options.best_of, self._options.n
        choices: list[schema.TextChoice] = []
        for first in range(0, len(replies.choices), best_of):
            ranked = replies.choices[first : first + best_of]
            if best_of > n:
                ranked = sorted(ranked, key=_likelihood, reverse=True)[:n]
            choices += [self._choice(reply, len(choices) + i) for i, reply in enumerate(ranked)]
        return schema.Completion(choices=choices, usage=replies.usage, **self._head)

    def opening(self, replies: Replies) -> Iterator[schema.Completion]:
        return iter(())

    def chunks(self, piece: Piece, reply: Reply) -> Iterator[schema.Completion]:
        if reply.tokens == 0 and not piece.finish:
            return  # the prompt is being scored
        text, entries = self._echo(reply)
        entries_here = self._entries(piece.tokens, len(text))
        if piece.index in self._begun:
            text, entries = "", []
        self._begun.add(piece.index)
        text, entries = text + piece.text, entries + entries_here
        if text or entries or piece.finish or self._ids(piece.ids):
            told = self._logprobs(entries), self._ids(piece.ids)
            choice = schema.TextChoice(piece.index, text, piece.finish, *told)
            yield self._chunk([choice])

    def usage(self, usage: schema.Usage) -> schema.Completion:
        return self._chunk([], usage)

    def _chunk(self, choices: list[schema.TextChoice], usage: schema.Usage | None = None) -> schema.Completion:
        return schema.Completion(choices=choices, usage=usage_field(self._options, usage), **self._head)

    def _choice(self, reply: Reply, index: int) -> schema.TextChoice:
        text, entries = self._echo(reply)
        entries = entries + self._entries(reply.scored, len(text))
        told = self._logprobs(entries), self._ids(reply.ids)
        return schema.TextChoice(index, text + reply.text, reply.finish, *told)

    def _echo(self, reply: Reply) -> tuple[str, list[Entry]]:
        """What a choice repeats of its prompt: text and entries."""
        if not self._echoes:
            return "", []
        echo = self._echoes[reply.index // self._options.best_of]
        if self._options.logprobs is None:
            return echo.text, []
        known = [None, *reply.prompt_logprobs]
        repeated = known[len(known) - len(echo.tokens) :]  # a BOS put before the text is not
        return echo.text, [(*token, logprobs) for token, logprobs in zip(echo.tokens, repeated, strict=True)]

    def _entries(self, tokens: list[Token], offset: int) -> list[Entry]:
        return [(_spelled(t.logprobs.chosen.text), offset + t.begin, t.logprobs) for t in tokens]

    def _ids(self, ids: list[int]) -> list[int] | UnsetType:
        return ids if self._options.return_tokens else UNSET

    def _logprobs(self, entries: list[Entry]) -> schema.LegacyLogprobs | None:
        if (most := self._options.logprobs) is None:
            return None
        return schema.LegacyLogprobs(
            tokens=[token for token, _, _ in entries],
            token_logprobs=[logprobs.chosen.logprob if logprobs else None for _, _, logprobs in entries],
            top_logprobs=[_top(logprobs) for _, _, logprobs in entries] if most else None,
            text_offset=[offset for _, offset, _ in entries],
        )


def _top(logprobs: Logprobs | None) -> dict[str, float] | None:
    """The likeliest by how they are written, and the token itself."""
    if logprobs is None:
        return None
    return {_spelled(scored.text): scored.logprob for scored in (logprobs.chosen, *logprobs.top)}


def _spelled(written: bytes) -> str:
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)


def _likelihood(reply: Reply) -> float:
    """Mean logprob of its tokens."""
    known = [token.logprobs.chosen.logprob for token in reply.scored]
    return sum(known) / len(known) if known else MIN_LOGPROB
