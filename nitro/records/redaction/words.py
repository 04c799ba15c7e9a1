"""Texts of words that say nothing, each of as many tokens as the text in whose place it stands.

A line of a text becomes a line, and the same line always becomes the same one: requests that share a beginning share
one afterwards, and a prefix cache finds as much. Which words those are depends on a secret of the run, so that
nobody can guess a text and check it.
"""

import hashlib
import hmac
import random
import secrets
from collections.abc import Sequence

from nitro.bench.prompts import WORDS
from nitro.records.redaction.tokenizer import Token, Tokenizer

TRIES = 12
MAX_NAME = 64  # characters, as OpenAI's API has it


class Words:
    """Replaces texts, names and token ids, each the same way wherever it stands."""

    def __init__(self, tokenizer: Tokenizer, secret: bytes | None = None):
        """Raises RecordError, as each method does."""
        self._tokenizer = tokenizer
        self._secret = secret or secrets.token_bytes(32)
        spaced = {each.piece.strip(): each.id for each in tokenizer.tokens(" " + " ".join(WORDS))}
        begun = {each.piece for each in tokenizer.tokens("\n".join(WORDS))}
        self._inner = [word for word in WORDS if word.encode() in spaced] or WORDS
        self._first = [word for word in WORDS if word.encode() in begun] or self._inner
        self._ids = [spaced.get(word.encode(), 0) for word in self._inner]
        self._texts: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self.inexact = 0  # texts whose number of tokens could not be kept

    def text(self, text: str) -> str:
        """A text in place of this one."""
        if not text.strip():
            return text
        if text not in self._texts:
            self._texts[text] = self._made(text)
        return self._texts[text]

    def name(self, name: str) -> str:
        """An identifier in place of this one: words and underscores."""
        if not name.strip():
            return name
        if name not in self._names:
            self._names[name] = found = self._new_name(name)
            self._taken.add(found)
        return self._names[name]

    def token(self, id: int) -> int:
        """The id of a word, in place of this one."""
        return self._random(f"token {id}".encode()).choice(self._ids)

    def _made(self, text: str) -> str:
        tokens = self._tokenizer.tokens(text)
        wanted = len(tokens)
        for runs in (_runs(tokens), [(wanted, text.encode(errors="replace"))]):
            more = 0
            for number in range(TRIES):
                made = self._filled(runs, more, number)
                found = len(self._tokenizer.tokens(made))
                if found == wanted:
                    return made
                more += wanted - found
        made = self._cut(text, wanted)
        self.inexact += len(self._tokenizer.tokens(made)) != wanted
        return made

    def _cut(self, text: str, wanted: int) -> str:
        """So many tokens of words that are no tokens themselves."""
        words = " ".join(self._random(text.encode(errors="replace")).choices(self._first, k=wanted))
        return b"".join(token.piece for token in self._tokenizer.tokens(words)[:wanted]).decode(errors="replace")

    def _filled(self, runs: Sequence[tuple[int, bytes]], more: int, number: int) -> str:
        """Words for each run. The last one, whose words differ with each `number`, gets so many more."""
        last = max((i for i, (count, _) in enumerate(runs) if count), default=0)
        made = ""
        for i, (count, original) in enumerate(runs):
            if not count:
                made += original.decode(errors="replace")
                continue
            choose = self._random(original + (b"%d" % number if i == last and number else b""))
            count = max(count + (more if i == last else 0), 1)
            begins = not made or made[-1].isspace()
            words = choose.choices(self._inner, k=count)
            if begins:
                words[0] = choose.choice(self._first)
            made += ("" if begins else " ") + " ".join(words)
        return made

    def _new_name(self, name: str) -> str:
        wanted = len(self._tokenizer.tokens(name))
        choose = self._random(b"name " + name.encode(errors="replace"))
        best: tuple[int, str] | None = None
        for number in range(TRIES * 2):
            made = "_".join(choose.choices(self._first, k=max(1, (wanted + 1) // 2 + number % 2)))[:MAX_NAME].strip("_")
            if made in self._taken:
                continue
            off = abs(len(self._tokenizer.tokens(made)) - wanted)
            if best is None or off < best[0]:
                best = off, made
            if not off:
                break
        if best is None:
            return f"name_{len(self._names)}"
        self.inexact += best[0] > 0
        return best[1]

    def _random(self, key: bytes) -> random.Random:
        return random.Random(hmac.new(self._secret, key, hashlib.sha256).digest())


def _runs(tokens: Sequence[Token]) -> list[tuple[int, bytes]]:
    """Lines, as the numbers of their tokens and their bytes; and the ends of lines between them, as (0, bytes)."""
    runs: list[tuple[int, bytes]] = []
    for token in tokens:
        if b"\n" in token.piece:
            ends = token.piece if token.piece.isspace() else b"\n" * token.piece.count(b"\n")
            runs.append((0, ends))
        elif runs and runs[-1][0]:
            count, before = runs[-1]
            runs[-1] = count + 1, before + token.piece
        else:
            runs.append((1, token.piece))
    return runs
