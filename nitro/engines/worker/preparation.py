"""A Generate's work → sequences that can be computed: tokenised, checked, its constraint compiled.

Done in slices (see jobs.py), since any part of it can take long. Knows neither sockets nor threads.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import chain, takewhile
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.constraints.thinking_budget import ThinkingMatcher
from nitro.engines.media import MediaKind
from nitro.engines.runner import Matcher, ModelRunner, Tokenizer
from nitro.engines.scheduling.prefix_cache import MIN_PREFIX
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.speculation import Drafter
from nitro.engines.shares import NOBODYS, Share
from nitro.engines.types import Constraint, GenerationParams, SamplingParams
from nitro.engines.work import MediaPrompt, Prompt, Work, decode_work
from nitro.engines.worker.jobs import Abandoned, JobResult, Lane, Rejection, Slices, T, brief, first_lane
from nitro.engines.worker.media_prompts import MediaPrompts, MediaTokens
from nitro.engines.worker.named_prefixes import NamedPrefixes
from nitro.engines.worker.prompt_tokens import PromptTokenizer

if TYPE_CHECKING:
    from nitro.engines.constraints.grammar import GrammarCompiler
    from nitro.engines.constraints.grammar_matcher import GrammarMatcher

log = logging.getLogger("nitro.engine")

NO_ECHO = "A prompt with an image or a sound cannot be shown or scored token by token."
BAN_BIAS = -100.0  # a logit bias this low or lower bans the token, as in the OpenAI API
MAX_QUICK_ITEMS = 8  # sequences, biased texts or visible tokens in a small request: it takes milliseconds
TEXTS_PER_SLICE = 32


class Preparation:
    """Prepares generations for one model. Any thread may use it; of each request one at a time."""

    def __init__(self, runner: ModelRunner, lookup: bool = True):
        """`lookup`: what a sequence has said is guessed to come again."""
        self._runner = runner
        self._lookup = lookup
        self._info = runner.info
        self._tokenizer = runner.tokenizer
        self._prompts = PromptTokenizer(runner.tokenizer, runner.info)
        self.media = MediaPrompts(runner)
        self._prefixes = NamedPrefixes(runner.tokenizer, runner.info)
        self._grammar_compiler: GrammarCompiler | None = None  # made with the first constraint
        self._making_compiler = threading.Lock()

    def slices(
        self, ids: list[int], raw: bytes, is_wanted: Callable[[], bool] = lambda: True, share: Share = NOBODYS
    ) -> Slices[JobResult]:
        """Prepare the request with these ids, for this share; `raw` is an encoded Work.

        `is_wanted` says whether its client still waits; it is asked within slices that may take seconds. Raises
        Rejection, Abandoned, or anything at all for what nobody foresaw.
        """
        work = decode_work(raw)
        if len(ids) != len(work.prompts) * work.n:
            raise ValueError(f"{len(ids)} sequences for {len(work.prompts)} prompts of {work.n} each")
        matcher: GrammarMatcher | None = None
        unenforced: list[str] = []
        current = first_lane(raw)
        if work.params.constraint:
            current = "constrained"
            yield current
            compile_matcher = partial(self._compiler().matcher, is_wanted=is_wanted)
            matcher = self._compile(ids[0], work.params.constraint, compile_matcher)
            yield current
            unenforced = self._compile(ids[0], work.params.constraint, self._compiler().unenforced)
        lane = first_lane(raw) if _is_quick(work) else "long"
        if lane != current:
            yield lane
        return (yield from self._sequences(ids, work, matcher, unenforced, lane, share))

    def _sequences(
        self,
        ids: list[int],
        work: Work,
        matcher: GrammarMatcher | None,
        unenforced: list[str],
        lane: Lane,
        share: Share,
    ) -> Slices[JobResult]:
        params = work.params
        now = time.monotonic()
        sampling = replace(params.sampling, logit_bias=(yield from self._bias(ids[0], params, lane)))
        predicted = self._predicted(params.prediction)
        visible = self._control_tokens(params.visible_special_tokens)
        self._runner.prepare(sampling)
        sequences: list[Sequence] = []
        echoes: list[list[bytes]] = []
        context = min(self._info.context, share.context or self._info.context)
        prompt_tokens = 0
        media_tokens: Counter[MediaKind] = Counter()
        for i, prompt in enumerate(work.prompts):
            if lane != "small":
                yield lane
            found = yield from self._read(ids[0], prompt, work, lane)
            tokens = found.tokens
            if len(tokens) >= context:  # of the share: the model's own was checked
                raise Rejection(messages.TooLong(ids[0], len(tokens), context))
            prompt_tokens += len(tokens)
            media_tokens += found.counts
            room = context - len(tokens)
            max_tokens = room if params.max_tokens is None else min(room, params.max_tokens)
            points = () if self._info.can_truncate else snapshot_points(tokens, self._tokenizer)
            keeps = self._prefixes.keeps(work, tokens, points, partial(self.media.beginning, found)) if i == 0 else ()
            if not self._info.can_truncate:
                points = tuple(sorted({*points, *(keep.length for keep in keeps)}))
            if params.echo:
                echoes.append([self._tokenizer.vocabulary_text(token) for token in tokens])
            for j in range(work.n):
                sequence = Sequence(
                    id=ids[i * work.n + j],
                    tokens=tokens.copy(),
                    max_tokens=max_tokens,
                    sampling=_seeded(sampling, j),
                    arrived=now,
                    matcher=self._with_thinking_budget(params, matcher and matcher.copy()),
                    drafter=Drafter(predicted, self._lookup),
                    snapshot_points=points,
                    keeps=keeps if j == 0 else (),
                    visible_special_tokens=visible,
                    bypass_cache=not params.use_cache,
                    media=found.runs,
                    adapters=work.adapters,
                    share=share,
                )
                sequences.append(sequence)
        answer = messages.Accepted(ids[0], prompt_tokens, echoes, unenforced, dict(media_tokens))
        return JobResult(answer, sequences)

    def _read(self, request_id: int, prompt: Prompt, work: Work, lane: Lane) -> Slices[MediaTokens]:
        """The ids of a prompt, and its media with their rows. Raises Rejection."""
        if not isinstance(prompt, MediaPrompt):
            return MediaTokens(self._prompts.tokens(request_id, prompt))
        if work.params.echo or work.params.sampling.prompt_logprobs:
            raise Rejection(messages.Rejected(request_id, NO_ECHO, "echo"))
        found = yield from self.media.read(request_id, prompt, work.media)
        self.media.check(request_id, found)
        yield from self.media.encode(request_id, found)
        yield lane
        return found

    def _predicted(self, text: str) -> list[int]:
        """The tokens of a prediction, as far as it may fit and the model knows them."""
        text = text[: self._prompts.readable_chars]
        tokens = self._tokenizer.encode(text) if text else []
        return list(takewhile(lambda token: token < self._info.vocabulary, tokens))

    def _with_thinking_budget(self, params: GenerationParams, matcher: Matcher | None) -> Matcher | None:
        if params.thinking is None:
            return matcher
        return ThinkingMatcher(params.thinking, matcher, self._tokenizer, self._info.vocabulary)

    def _control_tokens(self, texts: list[str]) -> frozenset[int]:
        """The control tokens of these texts. A text of several tokens, or of plain ones, is visible anyway."""
        encoded = [self._tokenizer.encode(text) for text in texts]
        return frozenset(ids[0] for ids in encoded if len(ids) == 1)

    def _compiler(self) -> GrammarCompiler:
        from nitro.engines.constraints.grammar import GrammarCompiler  # most engines never need it

        with self._making_compiler:
            if self._grammar_compiler is None:
                self._grammar_compiler = GrammarCompiler(self._tokenizer, self._info)
            return self._grammar_compiler

    def _compile(self, request_id: int, constraint: Constraint, compile_part: Callable[[Constraint], T]) -> T:
        """Raises Rejection where the constraint cannot be enforced, or the compiler fails at it, and Abandoned."""
        from nitro.engines.constraints.grammar_errors import CompileCancelled, GrammarError

        try:
            return compile_part(constraint)
        except CompileCancelled:
            raise Abandoned from None
        except GrammarError as error:
            param = error.param or constraint.param
            problem = str(error)
        except BaseException as error:  # a panic in llguidance is no Exception
            log.exception("a constraint could not be compiled")
            param = constraint.param
            problem = brief(error)
        problem = f"Invalid value for '{param}': it cannot be enforced. {problem}"
        raise Rejection(messages.Rejected(request_id, problem, param))

    def _bias(self, request_id: int, params: GenerationParams, lane: Lane) -> Slices[dict[int, float]]:
        """Biases by token id: those given by text too, bans as −∞, and what ignore_eos bans. Raises Rejection."""
        by_text: list[tuple[int, float]] = []
        for i, (text, bias) in enumerate(params.text_bias.items()):
            if i % TEXTS_PER_SLICE == TEXTS_PER_SLICE - 1:
                yield lane
            by_text += [(token, bias) for token in self._tokenizer.encode(text)]
        biases: dict[int, float] = {}
        for token, bias in chain(params.sampling.logit_bias.items(), by_text):
            if not 0 <= token < self._info.vocabulary:
                problem = f"Token id {token} is not in the vocabulary (0 to {self._info.vocabulary - 1})."
                raise Rejection(messages.Rejected(request_id, problem, "logit_bias"))
            biases[token] = -math.inf if bias <= BAN_BIAS else bias
        if params.sampling.ignore_eos:
            biases |= dict.fromkeys(self._info.eog, -math.inf)
        return biases


def _is_quick(work: Work) -> bool:
    """Whether a small request is also quickly prepared."""
    params = work.params
    items = max(len(work.prompts) * work.n, len(params.text_bias), len(params.visible_special_tokens))
    return items <= MAX_QUICK_ITEMS and not params.sampling.dry_multiplier


def _seeded(sampling: SamplingParams, choice: int) -> SamplingParams:
    return replace(sampling, seed=(sampling.seed + choice) % 2**31)


def is_control(token: int, tokenizer: Tokenizer) -> bool:
    """Whether it adds nothing to the text, and is no row of media."""
    return token >= 0 and not tokenizer.token_bytes(token)


def snapshot_points(tokens: list[int], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Where another prompt that begins like this one is likely to differ from it, ascending.

    That is before the control token that ends the first message, and before the one that opens the answer.
    """
    controls = [i for i, token in enumerate(tokens) if i >= MIN_PREFIX and is_control(token, tokenizer)]
    return tuple(sorted({controls[0], controls[-1]})) if controls else ()
