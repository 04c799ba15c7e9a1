"""`POST /v1/completions`: texts continued, and texts scored (`echo` with `max_tokens` 0 and `logprobs`)."""

from collections.abc import Iterator
from typing import Any

from litestar import Request, Response, post
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from nitro.api import openai
from nitro.api.exchange import Exchange, head, serve, usage_field
from nitro.api.prompts import CompletionPrompt, parse_completion
from nitro.api.reply import Piece, Replies, Reply, Token
from nitro.api.requestlog import RequestLog
from nitro.api.sampling import without_effect
from nitro.engines.types import LEAST_LOGPROB, Asked, Logprobs, ModelInfo
from nitro.engines.work import encode_work
from nitro.errors import ApiError
from nitro.models.served import ServedModel
from nitro.text.detokenizer import Detokenizer

Entry = tuple[str, int, Logprobs | None]  # a token as it is written, where it begins in the text, and its logprobs


@post("/v1/completions", status_code=200)
async def completions(request: Request) -> Response[Any]:
    return await serve(request, openai.CompletionRequest, _begin, prompt="prompt")


async def _begin(model: ServedModel, body: openai.CompletionRequest, log: RequestLog) -> Exchange:
    """Everything that can be a 4xx, until the engine has accepted the prompts. An engine draws at least one token."""
    info = await model.engine.ready()
    prompt = parse_completion(body, model.sampling(info), info.samplers)
    mute = prompt.max_tokens == 0
    most = 1 if mute else prompt.max_tokens
    sampling = prompt.sampling
    if prompt.best_of > prompt.n and sampling.logprobs is None:
        sampling = replace(sampling, logprobs=0)
    texts = [_begun(_open_middle(text, prompt.suffix, info), info) for text in prompt.prompts]
    asked = Asked(
        *(sampling, most, prompt.text_bias, prompt.echo),
        prediction=prompt.prediction or "",
        constraint=prompt.constraint,
        cache=prompt.cache,
    )
    generation = await model.engine.generate(encode_work(texts, asked, prompt.best_of))
    echoes = [
        _Echo(given, written[1:] if isinstance(given, str) and given != sent else written)
        for given, sent, written in zip(prompt.prompts, texts, generation.echoes, strict=False)
    ]
    log.replies = replies = Replies(generation, prompt.stops, mute, predicted=prompt.prediction is not None)
    format = Texts(prompt, echoes, head("cmpl", model, model.fingerprint(info)))
    return Exchange(prompt, replies, format, log, without_effect(body, info, constrained=asked.constraint is not None))


def _open_middle(prompt: str | list[int], suffix: str, info: ModelInfo) -> str | list[int]:
    """With a suffix, what the model continues with the text between both."""
    if not suffix or isinstance(prompt, list):
        return prompt
    if info.infill is None:
        message = "Unsupported parameter: 'suffix' needs a vocabulary with tokens to fill in the middle."
        raise ApiError(400, message, param="suffix", code="unsupported_parameter")
    before, after, middle = info.infill
    return before + prompt + after + suffix + middle


def _begun(prompt: str | list[int], info: ModelInfo) -> str | list[int]:
    """A text begins as the model's texts do."""
    if isinstance(prompt, list) or not info.adds_bos or prompt.startswith(info.bos):
        return prompt
    return info.bos + prompt


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

    def __init__(self, prompt: CompletionPrompt, echoes: list[_Echo], head: dict[str, Any]):
        self._prompt, self._echoes, self._head = prompt, echoes, head
        self._begun: set[int] = set()  # choices whose prompt has been repeated

    def whole(self, replies: Replies) -> openai.Completion:
        best_of, n = self._prompt.best_of, self._prompt.n
        choices: list[openai.TextChoice] = []
        for first in range(0, len(replies.choices), best_of):
            ranked = replies.choices[first : first + best_of]
            if best_of > n:
                ranked = sorted(ranked, key=_likelihood, reverse=True)[:n]
            choices += [self._choice(reply, len(choices) + i) for i, reply in enumerate(ranked)]
        return openai.Completion(choices=choices, usage=replies.usage, **self._head)

    def opening(self, replies: Replies) -> Iterator[openai.Completion]:
        return iter(())

    def chunks(self, piece: Piece, reply: Reply) -> Iterator[openai.Completion]:
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
            choice = openai.TextChoice(piece.index, text, piece.finish, *told)
            yield self._chunk([choice])

    def usage(self, usage: openai.Usage) -> openai.Completion:
        return self._chunk([], usage)

    def _chunk(self, choices: list[openai.TextChoice], usage: openai.Usage | None = None) -> openai.Completion:
        return openai.Completion(choices=choices, usage=usage_field(self._prompt, usage), **self._head)

    def _choice(self, reply: Reply, index: int) -> openai.TextChoice:
        text, entries = self._echo(reply)
        entries = entries + self._entries(reply.scored, len(text))
        told = self._logprobs(entries), self._ids(reply.ids)
        return openai.TextChoice(index, text + reply.text, reply.finish, *told)

    def _echo(self, reply: Reply) -> tuple[str, list[Entry]]:
        """What a choice repeats of its prompt: text and entries."""
        if not self._prompt.echo:
            return "", []
        echo = self._echoes[reply.index // self._prompt.best_of]
        if self._prompt.sampling.logprobs is None:
            return echo.text, []
        known = [None, *reply.prompt_logprobs]
        repeated = known[len(known) - len(echo.tokens) :]  # a BOS put before the text is not
        return echo.text, [(*token, logprobs) for token, logprobs in zip(echo.tokens, repeated, strict=True)]

    def _entries(self, tokens: list[Token], offset: int) -> list[Entry]:
        return [(_spelled(t.logprobs.chosen.written), offset + t.begin, t.logprobs) for t in tokens]

    def _ids(self, ids: list[int]) -> list[int] | UnsetType:
        return ids if self._prompt.return_tokens else UNSET

    def _logprobs(self, entries: list[Entry]) -> openai.LegacyLogprobs | None:
        if (most := self._prompt.sampling.logprobs) is None:
            return None
        return openai.LegacyLogprobs(
            tokens=[token for token, _, _ in entries],
            token_logprobs=[logprobs.chosen.logprob if logprobs else None for _, _, logprobs in entries],
            top_logprobs=[_top(logprobs) for _, _, logprobs in entries] if most else None,
            text_offset=[offset for _, offset, _ in entries],
        )


def _top(logprobs: Logprobs | None) -> dict[str, float] | None:
    """The likeliest by how they are written, and the token itself."""
    if logprobs is None:
        return None
    return {_spelled(scored.written): scored.logprob for scored in (logprobs.chosen, *logprobs.top)}


def _spelled(written: bytes) -> str:
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)


def _likelihood(reply: Reply) -> float:
    """Mean logprob of its tokens."""
    known = [token.logprobs.chosen.logprob for token in reply.scored]
    return sum(known) / len(known) if known else LEAST_LOGPROB
