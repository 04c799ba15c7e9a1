"""Prompts → token ids that a model can compute."""

from collections.abc import Callable

from nitro.engines import messages
from nitro.engines.runner import Tokenizer
from nitro.engines.types import ModelInfo
from nitro.engines.worker.jobs import Rejection

# A text of more characters than both of these may not fit into the context, and is read in parts.
CHARS_PER_TOKEN = 16  # of the context
MIN_CHARS = 2**16


class PromptTokenizer:
    """Tokenises and checks prompts for one model. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self.encode, self._encode_plain = tokenizer.encode, tokenizer.encode_plain
        self._context = info.context
        self._vocabulary = info.vocabulary
        self.readable_chars = max(CHARS_PER_TOKEN * info.context, MIN_CHARS)  # of a text that may fit

    def tokens(self, request_id: int, prompt: str | list[int]) -> list[int]:
        """The token ids of a prompt. Raises Rejection, under this id, where the prompt cannot be computed."""
        tokens = self.read(request_id, prompt)
        self.check_length(request_id, tokens)
        return tokens

    def check_length(self, request_id: int, tokens: list[int]) -> None:
        """Raise Rejection for a prompt without a token, or without room for one more."""
        if not tokens:
            raise Rejection(messages.Rejected(request_id, "The prompt is empty: it holds no token."))
        if len(tokens) >= self._context:
            raise Rejection(messages.TooLong(request_id, len(tokens), self._context))

    def read(self, request_id: int, prompt: str | list[int], parse_special: bool = True) -> list[int]:
        """The same, of a prompt that need not leave room for an answer. `parse_special`: see messages.Tokenize. Raises
        Rejection for ids that are not in the vocabulary, and for a text that is much too long."""
        tokens = prompt
        if isinstance(prompt, str):
            tokens = self._encode_text(request_id, prompt, self.encode if parse_special else self._encode_plain)
        assert isinstance(tokens, list)
        size = self._vocabulary
        if tokens and (
            min(tokens) < 0 or max(tokens) >= size
        ):  # the tokenizers of some models know more than the model does
            problem = f"The prompt holds a token that is not in the model's vocabulary (0 to {size - 1})."
            raise Rejection(messages.Rejected(request_id, problem))
        return tokens

    def _encode_text(self, request_id: int, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """A tokenizer may take minutes for megabytes. Of a text that can hardly fit only the beginning is read. Raises
        Rejection."""
        length = self.readable_chars
        while length < len(text):
            count = len(encode(text[:length]))
            if count > 2 * self._context:  # near the cut a few tokens may differ
                raise Rejection(messages.TooLong(request_id, count, self._context, partly=True))
            length *= 2
        return encode(text)
