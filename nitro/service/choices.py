"""From an engine's outputs to events: one `ChoiceAssembler` per choice, the same for a stream and a whole answer.

bytes → text → channels → stop strings, which the content alone is searched for: reasoning and calls are no answer
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nitro.engines.client.generation import Generation
from nitro.engines.types import Logprobs, Output
from nitro.service.events import (
    CallDelta,
    Event,
    Finished,
    FinishReason,
    PlacedToken,
    PromptLogprobs,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
)
from nitro.text.deltas import Channel, ChannelDelta, Parser, PlainParser, merged
from nitro.text.detokenizer import Detokenizer
from nitro.text.stops import StopMatcher
from nitro.text.tool_formats.format import any_id


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How the text of each choice is read."""

    parser: Callable[[], Parser] = PlainParser
    call_id: Callable[[str, int], str] = any_id  # of a call's name, and its number in the answer
    parallel_calls: bool = True  # several in one answer; else the first one ends it
    stops: Sequence[str] = ()
    stop_tokens: frozenset[int] = frozenset()
    keep_stop: bool = False  # the text ends with what has ended it
    hide_answer: bool = False  # the generated text is not returned
    predicted: bool = False  # the client or a draft model predicts; usage says how much of it came true


class Run(NamedTuple):
    """What stands together in an answer: a call, or a text that nothing else interrupts. `scored`: of content."""

    channel: str  # of a ChannelDelta
    text: str
    call: int  # its number
    scored: list[PlacedToken]


class _Begun(NamedTuple):
    """Where a run begins: `at` is a place in the text of its channel, `scored` one in `content_scored`. `since`:
    time.monotonic() when it began."""

    channel: Channel
    call: int
    at: int
    scored: int
    since: float


@dataclass(slots=True)
class AssembledCall:
    """A tool call of an answer, as far as it has come. `arguments`: JSON."""

    id: str
    name: str
    arguments: str = ""


class ChoiceAssembler:
    """One choice, put together from what the engine says. After `finish` is set nothing more comes."""

    def __init__(self, index: int, spec: OutputSpec = OutputSpec()):
        self.index = index
        self._spec = spec
        self.prompt_logprobs: list[Logprobs] = []  # from the prompt's second token on, if asked for
        self._text: list[str] = []  # in pieces: a long text must not be copied for each token
        self._length = 0  # of the text, in characters
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._runs: list[_Begun] = []
        self.calls: list[AssembledCall] = []
        self.tokens = self.reasoning_tokens = 0  # counts
        self.ids: list[int] = []
        self.drafted = self.accepted = 0  # tokens of drafts
        self.predicted_accepted = self.predicted_rejected = 0  # of those, from a prediction or the draft model
        self.finish: FinishReason | None = None
        self.scored: list[PlacedToken] = []  # whose text has been passed on
        self.content_scored: list[PlacedToken] = []  # those that came with content; maybe with tags before it
        self._held: list[PlacedToken] = []  # whose text is held back
        self._decoded = 0  # characters, those held back included
        self._unpassed = ""  # text that is held back
        self._detokenizer = Detokenizer()
        self._stops = StopMatcher(spec.stops, spec.keep_stop)
        self._stop_token_came = False
        self._parser = spec.parser()
        self._may_be_enough = bool(spec.stops) or not spec.parallel_calls
        self._may_pass = not (spec.stops or spec.stop_tokens or spec.hide_answer)

    @property
    def text(self) -> str:
        """As the model wrote it."""
        return "".join(self._text)

    @property
    def content(self) -> str:
        """Its answer."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        """What it thought before."""
        return "".join(self._reasoning)

    @property
    def stop(self) -> str | None:
        """The stop string that has ended it."""
        return self._stops.found

    def runs(self) -> list[Run]:
        """The answer in the order in which it came. Of a plain one that is its content alone."""
        texts = {"content": self.content, "reasoning": self.reasoning}
        found: list[Run] = []
        for i, run in enumerate(self._runs):
            after = next((each for each in self._runs[i + 1 :] if each.channel == run.channel), None)
            if run.channel == "call":
                found.append(Run(run.channel, self.calls[run.call].arguments, run.call, []))
                continue
            text = texts[run.channel][run.at : after.at if after else None]
            found.append(Run(run.channel, text, 0, self.content_scored[run.scored : after.scored if after else None]))
        return found

    @property
    def begun(self) -> list[tuple[Channel, float]]:
        """The channel of each run so far, and time.monotonic() when it began."""
        return [(run.channel, run.since) for run in self._runs]

    def _note_run(self, delta: ChannelDelta) -> None:
        last = self._runs[-1] if self._runs else None
        if (delta.text or delta.name is not None) and (
            last is None or last.channel != delta.channel or last.call != delta.call
        ):
            said = {"content": self._content, "reasoning": self._reasoning}.get(delta.channel, [])
            self._begin_run(delta.channel, delta.call, sum(map(len, said)))

    def _begin_run(self, channel: Channel, call: int, at: int) -> None:
        self._runs.append(_Begun(channel, call, at, len(self.content_scored), time.monotonic()))

    def feed(self, output: Output) -> list[Event]:
        """What the output adds. Raises nothing: an output with finish "error" never gets here."""
        assert self.finish is None and output.finish != "error"
        if self._may_pass and self._parser.passes and _is_plain(output):
            return [self._pass(output)]
        events: list[Event] = []
        if output.prompt_logprobs:
            self.prompt_logprobs += output.prompt_logprobs
            events.append(PromptLogprobs(self.index, output.prompt_logprobs))
        if self._spec.hide_answer:
            self.drafted += output.drafted
            self.finish = "length" if output.finish else None
        else:
            count = self.tokens
            text, deltas = self._read(output)
            if output.drafted:
                self._count_draft(output, self.tokens - count)
            events += self._events(output, text, deltas)
        if self.finish:
            events.append(Finished(self.index, self.finish, self.stop))
        return events

    def _pass(self, output: Output) -> Event:
        """What a plain output adds where its text is content as it is: the same as else, with less to do."""
        self.tokens += len(output.pieces)
        text = self._detokenizer.feed(b"".join(output.pieces))
        self._decoded += len(text)
        self._length += len(text)
        if text and (not self._runs or self._runs[-1].channel != "content"):
            self._begin_run("content", 0, sum(map(len, self._content)))
        self._text.append(text)
        self._content.append(text)
        self.ids += output.tokens
        return TextDelta(self.index, text, [], output.tokens)

    def _read(self, output: Output) -> tuple[str, list[ChannelDelta]]:
        """The text of its tokens, up to a stop string, and what it means. Sets `finish`."""
        assert output.finish != "error"
        deltas = self._read_tokens(output)
        if self._may_be_enough and self._enough:
            self.finish = "stop"
        elif output.finish or self._stop_token_came:
            deltas += self._read_text(self._detokenizer.flush())
            self.finish = "stop" if self._stop_token_came else output.finish
        if self.finish:
            rest = self._parser.flush()
            deltas += self._passed(rest) if self._spec.stops else rest
            deltas.append(ChannelDelta("content", self._stops.flush()))
            if self._stops.stopped:
                self.finish = "stop"
        if not self._spec.parallel_calls:
            deltas = [delta for delta in deltas if delta.call == 0]
        return self._passed_text(), merged(deltas)

    def _read_tokens(self, output: Output) -> list[ChannelDelta]:
        deltas: list[ChannelDelta] = []
        pieces = self._until_stop_token(output) if self._spec.stop_tokens else output.pieces
        ending = len(pieces) - 1 if self._ends(output) else -1  # the token that is no text
        for i, piece in enumerate(pieces):
            self.tokens += 1
            thinking = self._parser.thinking
            begin = self._decoded
            decoded = self._detokenizer.feed(piece)
            self._decoded += len(decoded)
            if output.logprobs and i != ending:
                self._held.append(PlacedToken(begin, self._decoded, output.logprobs[i]))
            deltas += self._read_text(decoded)
            self.reasoning_tokens += thinking or self._parser.thinking
            if self._may_be_enough and self._enough:
                break
        return deltas

    def _read_text(self, text: str) -> list[ChannelDelta]:
        self._unpassed += text
        deltas = self._parser.feed(text)
        return self._passed(deltas) if self._spec.stops else deltas

    def _passed(self, deltas: list[ChannelDelta]) -> list[ChannelDelta]:
        """What of the content comes before a stop string, and what else comes before that."""
        passed: list[ChannelDelta] = []
        for delta in deltas:
            if self._stops.stopped:
                break
            if delta.channel != "content":  # a stop string does not go on behind it
                passed += [ChannelDelta("content", self._stops.flush()), delta]
                continue
            length = self._stops.held + len(delta.text)
            passed.append(ChannelDelta("content", self._stops.feed(delta.text)))
            if self._stops.stopped:
                dropped = length - len(passed[-1].text) + self._parser.pending
                self._unpassed = self._unpassed[: max(len(self._unpassed) - dropped, 0)]
        return passed

    def _passed_text(self) -> str:
        """The text up to what the stop strings hold back."""
        held = self._stops.held
        if not held:
            passed, self._unpassed = self._unpassed, ""
            return passed
        held += self._parser.pending
        passed = self._unpassed[: max(len(self._unpassed) - held, 0)]
        self._unpassed = self._unpassed[len(passed) :]
        return passed

    def _until_stop_token(self, output: Output) -> list[bytes]:
        """The pieces up to the first stop token. Its own is empty unless the text is to end with it."""
        for i, token in enumerate(output.tokens[: len(output.pieces)]):
            if token in self._spec.stop_tokens:
                self._stop_token_came = True
                return [*output.pieces[:i], output.pieces[i] if self._spec.keep_stop else b""]
        return output.pieces

    def _ends(self, output: Output) -> bool:
        """Whether the last piece is that of a token that ends the text and is not part of it."""
        return output.finish == "stop" or (self._stop_token_came and not self._spec.keep_stop)

    @property
    def _enough(self) -> bool:
        """Whether a stop string has come, or the call is complete that ends the answer."""
        return self._stops.stopped or (not self._spec.parallel_calls and self._parser.calls > 0)

    def _count_draft(self, output: Output, read: int) -> None:
        """`read`: how many of its tokens count."""
        accepted = min(output.accepted, read)
        self.drafted += output.drafted
        self.accepted += accepted
        if output.predicted or output.modelled:
            self.predicted_accepted += accepted
            self.predicted_rejected += output.drafted - accepted

    def _events(self, output: Output, text: str, deltas: list[ChannelDelta]) -> list[Event]:
        self._text.append(text)
        self._length += len(text)
        ids = output.tokens[: self.tokens - len(self.ids)]
        self.ids += ids
        tokens = self._release() if self._held else []
        if not deltas and (tokens or ids):
            deltas = [ChannelDelta("content", "")]
        events: list[Event] = []
        for delta in deltas:
            events.append(self._event(delta, tokens, ids))
            tokens, ids = [], []
        if self.finish == "stop" and self.calls:
            self.finish = "tool_calls"
        return events

    def _event(self, delta: ChannelDelta, tokens: list[PlacedToken], ids: list[int]) -> Event:
        self._note_run(delta)
        if delta.channel == "content":
            self._content.append(delta.text)
            self.content_scored += tokens
            return TextDelta(self.index, delta.text, tokens, ids)
        if delta.channel == "reasoning":
            self._reasoning.append(delta.text)
            return ReasoningDelta(self.index, delta.text, tokens, ids)
        call_id = None
        if delta.name is not None:
            call_id = self._spec.call_id(delta.name, delta.call)
            self.calls.append(AssembledCall(call_id, delta.name))
        self.calls[delta.call].arguments += delta.text
        return CallDelta(self.index, delta.call, delta.text, call_id, delta.name, tokens, ids)

    def _release(self) -> list[PlacedToken]:
        """The tokens whose text has been passed on by now. A stop string's own are dropped."""
        passed = self._length
        held = self._held
        if self._stops.stopped:
            released = [token for token in held if token.begin < passed]
            self._held = []
        else:
            released = held if self.finish else [token for token in held if token.end <= passed]
            self._held = held[len(released) :]
        self.scored += released
        return released


def _is_plain(output: Output) -> bool:
    """Whether there is nothing in it but tokens, and more to come."""
    return bool(output.tokens and not (output.finish or output.drafted or output.logprobs or output.prompt_logprobs))


class Choices:
    """All choices of one request. Iterate to get bursts of events; ends when every choice has finished.

    Raises EngineError in mid-way where the engine does. A choice that a stop string ends is ended in the engine too.
    """

    def __init__(self, generation: Generation, spec: OutputSpec = OutputSpec()):
        self.generation = generation
        self._predicted = spec.predicted
        self.choices = [ChoiceAssembler(i, spec) for i in range(len(generation.ids))]
        self._unfinished = len(self.choices)

    def __aiter__(self) -> "Choices":
        return self

    async def __anext__(self) -> list[Event]:
        return self.read(await anext(self.generation))

    def read(self, burst: Sequence[tuple[int, Output]]) -> list[Event]:
        """The events of a burst of the generation's."""
        events: list[Event] = []
        for index, output in burst:
            choice = self.choices[index]
            if choice.finish:
                continue  # computed before the engine heard of the stop
            events += choice.feed(output)
            if choice.finish:
                self._unfinished -= 1
                if not output.finish:
                    self.generation.stop(index)
        return events

    @property
    def finished(self) -> bool:
        """Whether all of them have."""
        return not self._unfinished

    def count(self) -> int:
        """Tokens so far, of prompts and answers."""
        return self.generation.prompt_tokens + sum(choice.tokens for choice in self.choices)

    @property
    def usage(self) -> TokenUsage:
        """As far as they have come."""
        choices = self.choices
        return TokenUsage(
            prompt_tokens=self.generation.prompt_tokens,
            cached_tokens=self.generation.cached_tokens,
            media_tokens=self.generation.media_tokens,
            cache_write_tokens=self.generation.cache_write_tokens,
            completion_tokens=sum(choice.tokens for choice in choices),
            reasoning_tokens=sum(choice.reasoning_tokens for choice in choices),
            accepted_prediction_tokens=sum(c.predicted_accepted for c in choices) if self._predicted else None,
            rejected_prediction_tokens=sum(c.predicted_rejected for c in choices) if self._predicted else None,
        )
