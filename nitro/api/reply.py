"""From an engine's outputs to a client's text: one `Reply` per choice, the same for a stream and for a whole answer."""

from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from nitro.api.openai import CompletionTokensDetails, FinishReason, PromptTokensDetails, Usage
from nitro.engines.client import Generation
from nitro.engines.types import Output
from nitro.text.detokenizer import Detokenizer
from nitro.text.stops import StopMatcher


@dataclass(slots=True)
class Piece:
    """What one output added to a choice: text, maybe empty, and the finish reason with the last one."""

    index: int
    text: str
    finish: FinishReason | None


class Reply:
    """One choice: bytes → text → stop strings. After `finish` is set nothing more comes."""

    def __init__(self, index: int, stops: list[str]):
        self.index = index
        self.text = ""
        self.tokens = 0
        self.guessed = self.right = 0  # tokens of drafts
        self.finish: FinishReason | None = None
        self._detokenizer = Detokenizer()
        self._stops = StopMatcher(stops)

    def feed(self, output: Output) -> Piece:
        """Raises nothing: an output with finish "error" never gets here."""
        assert self.finish is None and output.finish != "error"
        self.guessed += output.guessed
        self.right += output.right
        text = ""
        for piece in output.pieces:
            self.tokens += 1
            text += self._stops.feed(self._detokenizer.feed(piece))
            if self._stops.stopped:
                break
        if self._stops.stopped:
            self.finish = "stop"
        elif output.finish:
            text += self._stops.feed(self._detokenizer.flush()) + self._stops.flush()
            self.finish = "stop" if self._stops.stopped else output.finish
        self.text += text
        return Piece(self.index, text, self.finish)


class Replies:
    """All choices of one request. Iterate to get bursts of pieces; ends when every choice has finished.

    Raises EngineError in mid-way where the engine does. A choice that a stop string ends is ended in the engine too.
    """

    def __init__(self, generation: Generation, stops: list[str], predicted: bool = False):
        """`predicted`: the client gave a prediction, and is told what became of it."""
        self.generation = generation
        self._predicted = predicted
        self.choices = [Reply(i, stops) for i in range(len(generation.ids))]

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
        return Usage(prompt, completion, prompt + completion, cached, self._prediction)

    @property
    def _prediction(self) -> CompletionTokensDetails | UnsetType:
        if not self._predicted:
            return UNSET
        guessed, right = sum(r.guessed for r in self.choices), sum(r.right for r in self.choices)
        return CompletionTokensDetails(right, guessed - right)
