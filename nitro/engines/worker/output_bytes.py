"""The engine thread computes token ids; what goes to the server has the tokens' bytes, too."""

from msgspec.structs import replace

from nitro.engines.runner import ModelRunner
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import Logprobs, Output, ScoredToken


class OutputBytes:
    """Adds to outputs the bytes of their tokens. Knows which control tokens are visible in which sequence."""

    def __init__(self, runner: ModelRunner):
        self._tokenizer = runner.tokenizer
        self._bytes = _TokenBytes(runner)
        self._visible: dict[int, frozenset[int]] = {}  # by sequence id: control tokens whose text is in the answer

    def begin(self, sequence: Sequence) -> None:
        """A sequence was queued."""
        if sequence.visible_special_tokens:
            self._visible[sequence.id] = sequence.visible_special_tokens

    def end(self, sequence_id: int) -> None:
        """The sequence ended. Unknown ids are ignored."""
        self._visible.pop(sequence_id, None)

    def complete(self, output: Output) -> Output:
        """The output, given the bytes of its tokens, and of those that its logprobs name."""
        bytes_of = self._bytes
        if self._visible and output.id in self._visible:
            visible = self._visible[output.id]
            text = self._tokenizer.vocabulary_text
            output.pieces = [text(token) if token in visible else bytes_of[token] for token in output.tokens]
        else:
            output.pieces = [bytes_of[token] for token in output.tokens]
        if output.finish:
            self.end(output.id)
        if output.logprobs:
            output.logprobs = list(map(self._with_text, output.logprobs))
        if output.prompt_logprobs:
            output.prompt_logprobs = list(map(self._with_text, output.prompt_logprobs))
        return output

    def _with_text(self, logprobs: Logprobs) -> Logprobs:
        return Logprobs(self._named(logprobs.chosen), [self._named(scored) for scored in logprobs.top])

    def _named(self, scored: ScoredToken) -> ScoredToken:
        is_special = not self._bytes[scored.token]
        return replace(scored, text=self._tokenizer.vocabulary_text(scored.token), is_special=is_special)


class _TokenBytes(dict[int, bytes]):
    """What each token adds to a text, looked up once."""

    def __init__(self, runner: ModelRunner):
        super().__init__(dict.fromkeys(runner.info.eog, b""))
        self._look_up = runner.tokenizer.token_bytes

    def __missing__(self, token: int) -> bytes:
        self[token] = piece = self._look_up(token)
        return piece
