"""Prompts that no cache knows: random words.

Each word of words.txt is one token, with the space before it, in SmolLM2's vocabulary and in most others.
"""

import random
from pathlib import Path
from typing import Any

WORDS = Path(__file__).with_name("words.txt").read_text().split()

FIRST = 8  # words in the system message, so that prompts part before the chat template adds text of its own


class Prompts:
    """An endless supply from one seed; no two alike."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self._made: set[tuple[str, ...]] = set()

    def words(self, count: int) -> str:
        return " ".join(self._random.choices(WORDS, k=count))

    def next(self, count: int) -> list[dict[str, Any]]:
        """The messages of one chat, of so many words."""
        assert count > FIRST
        while (words := tuple(self._random.choices(WORDS, k=count))) in self._made:
            pass
        self._made.add(words)
        parts = {"system": words[:FIRST], "user": words[FIRST:]}
        return [{"role": role, "content": " ".join(("Words:", *part))} for role, part in parts.items()]
