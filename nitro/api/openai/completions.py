"""`POST /v1/completions`: texts continued, and texts scored (`echo` with `max_tokens` 0 and `logprobs`)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from litestar import Request, Response, post

from nitro.api import readers
from nitro.api.endpoint import Endpoint, respond
from nitro.api.openai import reply_options, schema
from nitro.api.openai.early import EARLY
from nitro.api.openai.renderer import MARK, OpenAIRenderer, usage_of
from nitro.engines.types import MIN_LOGPROB, Logprobs
from nitro.service.choices import ChoiceAssembler
from nitro.service.events import Delta, Event, Finished, FinishReason, PlacedToken, PromptLogprobs, Started, TextDelta
from nitro.service.renderer import Answer
from nitro.text.detokenizer import Detokenizer


@post("/v1/completions", status_code=200)
async def completions(request: Request) -> Response[Any]:
    """Continue texts."""
    return await respond(request, COMPLETIONS)


class Entry(NamedTuple):
    """A token in a text, as `logprobs` lists it."""

    token: str
    offset: int  # characters before it
    logprobs: Logprobs | None


class _Echo:
    """A prompt as the reply repeats it: its text, and where its tokens begin in it."""

    def __init__(self, prompt: str | list[int], written: list[bytes]):
        """`written`: its tokens as the vocabulary writes them."""
        detokenizer = Detokenizer()
        text = ""
        self.tokens: list[tuple[str, int]] = []
        for token in written:
            self.tokens.append((_spelled(token), len(text)))
            text += detokenizer.feed(token)
        text += detokenizer.flush()
        self.text = prompt if isinstance(prompt, str) else text
        if text == f" {self.text}":  # SentencePiece puts a space before a text
            self.tokens = [(token, max(begin - 1, 0)) for token, begin in self.tokens]


class CompletionRenderer(OpenAIRenderer):
    """A chunk for each delta. The first of a choice repeats its prompt, where asked for. Choice i is that of prompt
    i // best_of."""

    def __init__(self, started: Started, options: bytes):
        self._options = reply_options.decode_completion(options)
        super().__init__("cmpl", started, self._options)
        prompts = self._options.prompts
        self._echoes = [_Echo(*pair) for pair in zip(prompts, started.prompts, strict=True)] if prompts else []
        self._prompt_logprobs: dict[int, list[Logprobs]] = {}  # by choice, as far as they have come
        self._begun: set[int] = set()  # choices whose prompt has been repeated

    def sample(self, event: Delta) -> schema.WithTimings | None:
        """None where a choice repeats its prompt."""
        return None if self._echoes else self._chunk([schema.TextChoice(event.index, MARK)])

    def chunks(self, burst: Sequence[Event]) -> list[schema.WithTimings]:
        """One per delta that says something; a finish goes with the delta before it."""
        chunks: list[schema.WithTimings] = []
        pending: TextDelta | None = None  # its finish may follow
        for event in burst:
            if isinstance(event, PromptLogprobs):
                self._prompt_logprobs.setdefault(event.index, []).extend(event.logprobs)
            elif isinstance(event, TextDelta):
                chunks += self._of_delta(pending) if pending else []
                pending = event
            elif isinstance(event, Finished):
                if pending and pending.index != event.index:
                    chunks += self._of_delta(pending)
                    pending = None
                chunks += self._of_delta(pending or TextDelta(event.index, ""), event.reason)
                pending = None
        return chunks + (self._of_delta(pending) if pending else [])

    def usage_chunk(self, usage: schema.Usage) -> schema.WithTimings:
        """No choices."""
        return self._chunk([], usage)

    def reply(self, answer: Answer) -> schema.Completion:
        """All choices or, of those on each prompt, the best."""
        best_of = self._options.best_of
        n = self._options.n
        choices: list[schema.TextChoice] = []
        for first in range(0, len(answer.choices), best_of):
            ranked = answer.choices[first : first + best_of]
            if best_of > n:
                ranked = sorted(ranked, key=_likelihood, reverse=True)[:n]
            choices += [self._choice(choice, len(choices) + i) for i, choice in enumerate(ranked)]
        return schema.Completion(choices=choices, usage=usage_of(answer.done.usage), **self.head)

    def _of_delta(self, delta: TextDelta, finish: FinishReason | None = None) -> list[schema.WithTimings]:
        index = delta.index
        text = ""
        entries: list[Entry] = []
        if index not in self._begun:
            self._begun.add(index)
            text, entries = self._echo(index, self._prompt_logprobs.get(index, []))
        text += delta.text
        entries = entries + _entries(delta.tokens, self._echo_length(index))
        if not (text or entries or finish or self.ids(delta.ids)):
            return []
        choice = schema.TextChoice(index, text, finish, self._logprobs(entries), self.ids(delta.ids))
        return [self._chunk([choice])]

    def _echo_length(self, index: int) -> int:
        return len(self._echoes[index // self._options.best_of].text) if self._echoes else 0

    def _choice(self, choice: ChoiceAssembler, index: int) -> schema.TextChoice:
        text, entries = self._echo(choice.index, choice.prompt_logprobs)
        entries = entries + _entries(choice.scored, len(text))
        return schema.TextChoice(
            index, text + choice.text, choice.finish, self._logprobs(entries), self.ids(choice.ids)
        )

    def _echo(self, index: int, prompt_logprobs: list[Logprobs]) -> tuple[str, list[Entry]]:
        """What a choice repeats of its prompt: text and entries."""
        if not self._echoes:
            return "", []
        echo = self._echoes[index // self._options.best_of]
        if self._options.logprobs is None:
            return echo.text, []
        known = [None, *prompt_logprobs]
        repeated = known[len(known) - len(echo.tokens) :]  # a BOS put before the text is not
        entries = [Entry(*token, logprobs) for token, logprobs in zip(echo.tokens, repeated, strict=True)]
        return echo.text, entries

    def _chunk(self, choices: list[schema.TextChoice], usage: schema.Usage | None = None) -> schema.WithTimings:
        return schema.Completion(choices=choices, usage=self.usage_field(usage), **self.head)

    def _logprobs(self, entries: list[Entry]) -> schema.LegacyLogprobs | None:
        top = self._options.logprobs
        if top is None:
            return None
        return schema.LegacyLogprobs(
            tokens=[entry.token for entry in entries],
            token_logprobs=[entry.logprobs.chosen.logprob if entry.logprobs else None for entry in entries],
            top_logprobs=[_top(entry.logprobs) for entry in entries] if top else None,
            text_offset=[entry.offset for entry in entries],
        )


COMPLETIONS = Endpoint(
    reader=readers.COMPLETION,
    renderer=CompletionRenderer,
    prompt_param="prompt",
    namer=readers.TIERED_NAME,
    early=EARLY,
)


def _entries(tokens: list[PlacedToken], offset: int) -> list[Entry]:
    return [Entry(_spelled(token.logprobs.chosen.text), offset + token.begin, token.logprobs) for token in tokens]


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


def _likelihood(choice: ChoiceAssembler) -> float:
    """Mean logprob of its tokens."""
    known = [token.logprobs.chosen.logprob for token in choice.scored]
    return sum(known) / len(known) if known else MIN_LOGPROB
