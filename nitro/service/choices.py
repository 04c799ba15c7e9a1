"""From an engine's outputs to what a client is told: one `Reply` per choice, the same for a stream and a whole answer.

bytes → text → stop strings → channels
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from nitro.api.openai.schema import CompletionTokensDetails, FinishReason, PromptTokensDetails, Usage
from nitro.engines.client.generation import Generation
from nitro.engines.types import Logprobs, Output
from nitro.text.detokenizer import Detokenizer
from nitro.text.output_parser import ChannelDelta, Parser, PlainParser, merged
from nitro.text.stops import StopMatcher
from nitro.text.tool_formats.format import any_id


@dataclass(slots=True)
class Token:
    """A token with its logprobs, and its place in the text of its choice: the characters [begin, end)."""

    begin: int
    end: int
    logprobs: Logprobs


@dataclass(slots=True)
class Piece:
    """What one output added to a choice: text, maybe empty, and what it means; its tokens if their logprobs were asked
    for, and the finish reason with the last one."""

    index: int
    text: str
    finish: FinishReason | None
    tokens: list[Token] = field(default_factory=list)
    deltas: list[ChannelDelta] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)  # of the tokens that came, whether their text did or not


@dataclass(slots=True)
class CallMade:
    id: str
    name: str
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the text of each choice is read."""

    parser: Callable[[], Parser] = PlainParser
    call_id: Callable[[str, int], str] = any_id
    several: bool = True  # calls; else the first one ends the answer
    called: FinishReason = "tool_calls"  # how an answer with calls ends


class Reply:
    """One choice. After `finish` is set nothing more comes. A `mute` one says nothing."""

    def __init__(self, index: int, stops: list[str], mute: bool = False, reading: Reading = Reading()):
        self.index = index
        self._mute, self._reading = mute, reading
        self.prompt_logprobs: list[Logprobs] = []  # from the prompt's second token on, if asked for
        self.text = ""  # as the model wrote it
        self.content = self.reasoning = ""
        self.calls: list[CallMade] = []
        self.tokens = self.reasoning_tokens = 0
        self.ids: list[int] = []
        self.guessed = self.right = 0  # tokens of drafts
        self.accepted = self.rejected = 0  # of those, what the client had predicted
        self.finish: FinishReason | None = None
        self.scored: list[Token] = []  # whose text has been passed on
        self._waiting: list[Token] = []  # whose text is held back
        self._decoded = 0  # characters, those held back included
        self._detokenizer = Detokenizer()
        self._stops = StopMatcher(stops)
        self._parser = reading.parser()

    def feed(self, output: Output) -> Piece:
        """Raises nothing: an output with finish "error" never gets here."""
        assert self.finish is None and output.finish != "error"
        self.prompt_logprobs += output.prompt_logprobs
        self.guessed += output.drafted
        if self._mute:
            self.finish = "length" if output.finish else None
            return Piece(self.index, "", self.finish)
        text, deltas, before = "", list[ChannelDelta](), self.tokens
        for i, piece in enumerate(output.pieces):
            self.tokens += 1
            thinking = self._parser.thinking
            begin, decoded = self._decoded, self._detokenizer.feed(piece)
            self._decoded += len(decoded)
            if output.logprobs and not (output.finish == "stop" and i == len(output.pieces) - 1):  # the end is no text
                self._waiting.append(Token(begin, self._decoded, output.logprobs[i]))
            passed = self._stops.feed(decoded)
            deltas += self._parser.feed(passed)
            text += passed
            self.reasoning_tokens += thinking or self._parser.thinking
            if self._stops.stopped or self._called_enough:
                break
        right = min(output.accepted, self.tokens - before)
        self.right += right
        if output.predicted:
            self.accepted, self.rejected = self.accepted + right, self.rejected + output.drafted - right
        if self._stops.stopped or self._called_enough:
            self.finish = "stop"
        elif output.finish:
            rest = self._stops.feed(self._detokenizer.flush()) + self._stops.flush()
            deltas += self._parser.feed(rest)
            text += rest
            self.finish = "stop" if self._stops.stopped else output.finish
        if self.finish:
            deltas += self._parser.flush()
        if not self._reading.several:
            deltas = [delta for delta in deltas if delta.call == 0]
        deltas = list(merged(deltas))
        self.text += text
        self._keep(deltas)
        ids = output.tokens[: self.tokens - len(self.ids)]
        self.ids += ids
        if self.finish == "stop" and self.calls:
            self.finish = self._reading.called
        return Piece(self.index, text, self.finish, self._pass_on(), deltas, ids)

    @property
    def _called_enough(self) -> bool:
        """Whether the call is complete that ends the answer."""
        return not self._reading.several and self._parser.calls > 0

    def _keep(self, deltas: list[ChannelDelta]) -> None:
        for delta in deltas:
            if delta.channel == "content":
                self.content += delta.text
            elif delta.channel == "reasoning":
                self.reasoning += delta.text
            else:
                if delta.name is not None:
                    self.calls.append(CallMade(self._reading.call_id(delta.name, delta.call), delta.name))
                self.calls[delta.call].arguments += delta.text

    def _pass_on(self) -> list[Token]:
        """The tokens whose text has been passed on by now. A stop string's own are dropped."""
        if not self._waiting:
            return []
        passed, waiting = len(self.text), self._waiting
        if self._stops.stopped:
            done, self._waiting = [token for token in waiting if token.begin < passed], []
        else:
            done = waiting if self.finish else [token for token in waiting if token.end <= passed]
            self._waiting = waiting[len(done) :]
        self.scored += done
        return done


class Replies:
    """All choices of one request. Iterate to get bursts of pieces; ends when every choice has finished.

    Raises EngineError in mid-way where the engine does. A choice that a stop string ends is ended in the engine too.
    """

    def __init__(
        self,
        generation: Generation,
        stops: list[str],
        mute: bool = False,
        predicted: bool = False,
        reading: Reading = Reading(),
    ):
        """`predicted`: the client gave a prediction, and is told what became of it."""
        self.generation = generation
        self._predicted = predicted
        self.choices = [Reply(i, stops, mute, reading) for i in range(len(generation.ids))]

    def __aiter__(self) -> "Replies":
        return self

    async def __anext__(self) -> list[Piece]:
        pieces = []
        for index, output in await anext(self.generation):
            reply = self.choices[index]
            if reply.finish:
                continue  # computed before the engine heard of the stop
            piece = reply.feed(output)
            if piece.finish and not output.finish:
                self.generation.stop(index)
            pieces.append(piece)
        return pieces

    @property
    def usage(self) -> Usage:
        prompt, completion = self.generation.prompt_tokens, sum(reply.tokens for reply in self.choices)
        cached = PromptTokensDetails(self.generation.cached_tokens)
        return Usage(prompt, completion, prompt + completion, cached, self._details)

    @property
    def _details(self) -> CompletionTokensDetails | UnsetType:
        reasoning = sum(reply.reasoning_tokens for reply in self.choices)
        details = CompletionTokensDetails(reasoning) if reasoning else UNSET
        if self._predicted:
            accepted, rejected = sum(r.accepted for r in self.choices), sum(r.rejected for r in self.choices)
            details = CompletionTokensDetails(reasoning, accepted, rejected)
        return details
