"""A tokenizer whose long texts are read in a process apart: a library that takes minutes for one, all of the memory, or
the process's life, takes them from there."""

import array
from typing import Any

from nitro.engines.runner import Tokenizer
from nitro.engines.worker.apart.apart import Apart
from nitro.engines.worker.apart.questions import Encode, Encoded

HERE = 2**15  # characters of a text that is read in this process, in milliseconds


class GuardedTokenizer:
    """See runner.Tokenizer. Both kinds of `encode` raise TooMuch and NoHelp."""

    def __init__(self, tokenizer: Tokenizer, apart: Apart):
        self._tokenizer = tokenizer
        self._processes = apart.processes
        self._limits = apart.tokenizing
        self.token_bytes = tokenizer.token_bytes
        self.vocabulary_text = tokenizer.vocabulary_text

    def encode(self, text: str) -> list[int]:
        """See Tokenizer."""
        return self._tokenizer.encode(text) if len(text) <= HERE else self._apart(text, plain=False)

    def encode_plain(self, text: str) -> list[int]:
        """See Tokenizer."""
        return self._tokenizer.encode_plain(text) if len(text) <= HERE else self._apart(text, plain=True)

    def _apart(self, text: str, plain: bool) -> list[int]:
        answer = self._processes.ask(Encode(text.encode("utf-8", "replace"), plain, self._limits))
        assert isinstance(answer, Encoded)
        ids = array.array("i")
        ids.frombytes(answer.ids)
        return ids.tolist()

    def __getattr__(self, name: str) -> Any:
        """What else a tokenizer of some backend has."""
        return getattr(self._tokenizer, name)
