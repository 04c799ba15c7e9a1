"""What a request wants → sequences that can be computed: tokenised, checked, its constraint compiled.

Done piece by piece, since any of it can take long: between two pieces whoever does it may look whether the client is
still there, and let others go first. Knows neither sockets nor threads.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.constraints.thinking_budget import ThinkingMatcher
from nitro.engines.runner import Matcher, ModelRunner, Tokenizer
from nitro.engines.scheduling.prefix_cache import WORTH
from nitro.engines.scheduling.scheduler import Sequence
from nitro.engines.scheduling.speculation import Drafts
from nitro.engines.types import Constraint, GenerationParams, SamplingParams
from nitro.engines.work import Work, decode_work

if TYPE_CHECKING:
    from nitro.engines.constraints.grammar import GrammarMatcher, Grammars

log = logging.getLogger("nitro.engine")

HARDLY_FITS, LEAST_READ = 16, 2**16  # characters for a token of the context, and in all: more may not fit
BANNED = -100.0  # a logit bias this low or lower bans the token, as in the OpenAI API
SMALL, FEW = 2**14, 8  # bytes of work, and how many there are of anything in it: such a request takes milliseconds
PIECE = 32  # texts or sequences
LONGEST_TOLD = 500  # characters of an error that nobody foresaw

Lane = Literal["small", "long", "constrained"]  # the kinds of pieces: a small one, a long one, a constraint
T = TypeVar("T")
Pieces = Generator[Lane, None, T]  # says before each piece of what kind it is


@dataclass(frozen=True, slots=True)
class Prepared:
    accepted: messages.Accepted
    sequences: list[Sequence]


class Rejection(Exception):
    """The request cannot run."""

    def __init__(self, answer: messages.Rejected | messages.TooLong):
        self.answer = answer


class Abandoned(Exception):
    """Nobody waits for the request any more."""


class Preparation:
    """For one model; any thread may use it. Of a request, one at a time."""

    def __init__(self, runner: ModelRunner):
        self._runner, self._info, self._tokenizer = runner, runner.info, runner.tokenizer
        self._grammars: Grammars | None = None  # made with the first constraint
        self._making = threading.Lock()

    def pieces(self, ids: list[int], raw: bytes, wanted: Callable[[], bool] = lambda: True) -> Pieces[Prepared]:
        """The request with these ids, made ready. `wanted`: whether its client is still there; params within a piece
        that may take seconds. Raises Rejection, Abandoned, or anything at all for what nobody foresaw."""
        work = decode_work(raw)
        if len(ids) != len(work.prompts) * work.n:
            raise ValueError(f"{len(ids)} sequences for {len(work.prompts)} prompts of {work.n} each")
        matcher: GrammarMatcher | None = None
        unenforced: list[str] = []
        here: Lane = first_lane(raw)
        if work.params.constraint:
            yield (here := "constrained")
            compile = partial(self._compiler().matcher, wanted=wanted)
            matcher = self._compiled(ids[0], work.params.constraint, compile)
            yield "constrained"
            unenforced = self._compiled(ids[0], work.params.constraint, self._compiler().unenforced)
        lane = "long" if not _is_quick(work) else first_lane(raw)
        if lane != here:
            yield lane
        return (yield from self._sequences(ids, work, matcher, unenforced, lane))

    def _sequences(
        self, ids: list[int], work: Work, matcher: GrammarMatcher | None, unenforced: list[str], lane: Lane
    ) -> Pieces[Prepared]:
        params, now, sequences, echoes, count = work.params, time.monotonic(), list[Sequence](), list[list[bytes]](), 0
        sampling = replace(params.sampling, logit_bias=(yield from self._bias(ids[0], params, lane)))
        predicted = self._predicted(params.prediction)
        spoken = self._spoken(params.visible_special_tokens)
        self._runner.prepare(sampling)
        for i, prompt in enumerate(work.prompts):
            if lane != "small":
                yield lane
            tokens = self._tokens(ids[0], prompt)
            count += len(tokens)
            borders = () if self._info.can_truncate else message_borders(tokens, self._tokenizer)
            if params.echo:
                echoes.append([self._tokenizer.vocabulary_text(token) for token in tokens])
            room = self._info.context - len(tokens)
            most = room if params.max_tokens is None else min(room, params.max_tokens)
            for j in range(work.n):
                drawn = _seeded(sampling, j)
                mine, drafts = self._limited(params, matcher and matcher.copy()), Drafts(predicted)
                id, own, whole = ids[i * work.n + j], tokens.copy(), not params.use_cache
                sequences.append(Sequence(id, own, most, drawn, now, mine, drafts, borders, spoken, whole))
        return Prepared(messages.Accepted(ids[0], count, echoes, unenforced), sequences)

    def _predicted(self, text: str) -> list[int]:
        text = text[: max(HARDLY_FITS * self._info.context, LEAST_READ)]
        tokens = self._tokenizer.encode(text) if text else []
        return list(takewhile(lambda token: token < self._info.vocabulary, tokens))

    def _limited(self, params: GenerationParams, matcher: Matcher | None) -> Matcher | None:
        if params.thinking is None:
            return matcher
        return ThinkingMatcher(params.thinking, matcher, self._tokenizer, self._info.vocabulary)

    def _spoken(self, texts: list[str]) -> frozenset[int]:
        """The control tokens of these texts; a text that is none, or several tokens, is told anyway."""
        encoded = [self._tokenizer.encode(text) for text in texts]
        return frozenset(ids[0] for ids in encoded if len(ids) == 1)

    def _compiler(self) -> Grammars:
        from nitro.engines.constraints.grammar import Grammars  # most engines never need it

        with self._making:
            if self._grammars is None:
                self._grammars = Grammars(self._tokenizer, self._info)
            return self._grammars

    def _compiled(self, first: int, constraint: Constraint, compiled: Callable[[Constraint], T]) -> T:
        """Raises Rejection where the constraint cannot be enforced, or the compiler fails at it, and Abandoned."""
        from nitro.engines.constraints.grammar import GrammarError, Unwanted

        try:
            return compiled(constraint)
        except Unwanted:
            raise Abandoned from None
        except GrammarError as error:
            param, problem = error.param or constraint.param, str(error)
        except BaseException as error:  # panics are none of Exception
            log.exception("a constraint could not be compiled")
            param, problem = constraint.param, brief(error)
        problem = f"Invalid value for '{param}': it cannot be enforced. {problem}"
        raise Rejection(messages.Rejected(first, problem, param))

    def _tokens(self, first: int, prompt: str | list[int]) -> list[int]:
        """Raises Rejection where the prompt cannot be computed."""
        context, tokens = self._info.context, self._encoded(first, prompt) if isinstance(prompt, str) else prompt
        if not tokens:
            raise Rejection(messages.Rejected(first, "The prompt is empty: it holds no token."))
        size = self._info.vocabulary
        if min(tokens) < 0 or max(tokens) >= size:  # the tokenizers of some models know more than the model does
            problem = f"The prompt holds a token that is not in the model's vocabulary (0 to {size - 1})."
            raise Rejection(messages.Rejected(first, problem))
        if len(tokens) >= context:
            raise Rejection(messages.TooLong(first, len(tokens), context))
        return tokens

    def _encoded(self, first: int, text: str) -> list[int]:
        """A tokenizer may take minutes for megabytes. Of a text that can hardly fit only the beginning is read. Raises
        Rejection."""
        context, encode = self._info.context, self._tokenizer.encode
        part = max(HARDLY_FITS * context, LEAST_READ)
        while part < len(text):
            if (count := len(encode(text[:part]))) > 2 * context:  # where it is cut, a few tokens may be others
                raise Rejection(messages.TooLong(first, count, context, partly=True))
            part *= 2
        return encode(text)

    def _bias(self, first: int, params: GenerationParams, lane: Lane) -> Pieces[dict[int, float]]:
        """Biases by token id: those given by text too, bans as −∞, and what ignore_eos bans. Raises Rejection."""
        by_text: list[tuple[int, float]] = []
        for i, (text, bias) in enumerate(params.text_bias.items()):
            if i % PIECE == PIECE - 1:
                yield lane
            by_text += [(token, bias) for token in self._tokenizer.encode(text)]
        biases: dict[int, float] = {}
        for token, bias in chain(params.sampling.logit_bias.items(), by_text):
            if not 0 <= token < self._info.vocabulary:
                problem = f"Token id {token} is not in the vocabulary (0 to {self._info.vocabulary - 1})."
                raise Rejection(messages.Rejected(first, problem, "logit_bias"))
            biases[token] = -math.inf if bias <= BANNED else bias
        if params.sampling.ignore_eos:
            biases |= dict.fromkeys(self._info.eog, -math.inf)
        return biases


def brief(error: BaseException) -> str:
    """What an error says, which may be all that a library holds."""
    text = str(error) or repr(error)
    return text if len(text) <= LONGEST_TOLD else text[:LONGEST_TOLD] + " …"


def first_lane(raw: bytes) -> Lane:
    """Where a request is opened."""
    return "small" if len(raw) <= SMALL else "long"


def _is_quick(work: Work) -> bool:
    """Whether what is small is quickly made ready, too."""
    many = max(len(work.prompts) * work.n, len(work.params.text_bias), len(work.params.visible_special_tokens))
    return many <= FEW and not work.params.sampling.dry_multiplier


def _seeded(sampling: SamplingParams, choice: int) -> SamplingParams:
    return replace(sampling, seed=(sampling.seed + choice) % 2**31)


def message_borders(tokens: list[int], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Where a prompt that begins like this one may well part from it: before the control tokens that end the first
    message, and that open the answer."""
    controls = [i for i, token in enumerate(tokens) if i >= WORTH and not tokenizer.token_bytes(token)]
    return tuple(sorted({controls[0], controls[-1]})) if controls else ()
