"""llama.cpp's own tokenizer, by a model's vocabulary."""

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines.runner import TokenizerRecipe

OPENED_BY = "nitro.engines.backends.llama.vocabulary_file:open_tokenizer"


class LlamaTokenizer:
    """llama_tokenize reads the vocabulary only, so that any thread may call it."""

    def __init__(self, vocab: Any, path: Path | None = None):
        """`path`: the file that the vocabulary is from."""
        self._vocab = vocab
        self._path = path
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids. What cannot be UTF-8 becomes "?"."""
        return self._encode(text, True)

    def encode_plain(self, text: str) -> list[int]:
        """The same, but that control tokens written in the text are text like any other."""
        return self._encode(text, False)

    def encode_whole(self, text: str) -> list[int]:
        """The same as `encode`, with the tokens that the model has before and after a text."""
        return self._encode(text, True, around=True)

    def _encode(self, text: str, parse_special: bool, around: bool = False) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8  # a token is at least a byte, and a few prefixes may come before
        while True:
            tokens = (lib.llama_token * room)()
            count = lib.llama_tokenize(self._vocab, data, len(data), tokens, room, around, parse_special)
            if count >= 0:
                return tokens[:count]
            room = -count

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to the text; computed once for each token."""
        if token not in self._pieces:
            self._pieces[token] = self._render(token)
        return self._pieces[token]

    def vocabulary_text(self, token: int) -> bytes:
        """Its bytes or, for a token without any, how the vocabulary writes it."""
        return self.token_bytes(token) or self.text(token).encode()

    @property
    def recipe(self) -> Callable[[], TokenizerRecipe] | None:
        """See Tokenizer."""
        return partial(TokenizerRecipe, OPENED_BY, bytes(self._path.absolute())) if self._path else None

    def text(self, token: int) -> str:
        """How a token is written in the vocabulary; nothing for a token the model does not have."""
        return (lib.llama_vocab_get_text(self._vocab, token) or b"").decode(errors="replace") if token >= 0 else ""

    def _render(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[:length]
