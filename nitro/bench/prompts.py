"""Prompts that no cache holds: random words, texts of several kinds, and requests for stories.

Each word of words.txt is one token, with the space before it, in SmolLM2's vocabulary and in most others.
"""

import random
from pathlib import Path
from typing import Any

from nitro.bench import texts

WORDS = Path(__file__).with_name("words.txt").read_text().split()

SHORT = (29, 77)  # words of a short prompt of words: 48 to 96 tokens with a chat template
SYSTEM_WORDS = 8  # so that prompts differ before the chat template adds text of its own

# A story takes one of each. Written for this file.
WHO = (
    "a ferryman who cannot swim",
    "the last typesetter of a small newspaper",
    "two sisters who share one pair of winter boots",
    "a schoolteacher who has lost her voice",
    "a clockmaker's apprentice on his first day",
    "an old dog and the postman who fears it",
    "a cook on a ship that never leaves the harbour",
    "a surveyor who finds a village that is on no map",
)
WHERE = (
    "in a valley where it has rained for a month",
    "on an island with a single tree",
    "in a railway station at night",
    "between the shelves of a closed library",
    "at a market on the first morning of frost",
    "in the attic of a house that is to be sold",
    "on the road over the mountains, in a bus without heating",
    "in a town whose bridge was washed away",
)
WHAT = (
    "a letter that was meant for somebody else",
    "a promise made many years ago",
    "a tune that nobody can remember to the end",
    "the right way to bake bread",
    "a key without a door",
    "a debt of eleven coins",
    "a bird that has learned one word",
    "a photograph in which one face is scratched out",
)


class Prompts:
    """Prompts without end from one seed, no two of them the same."""

    def __init__(self, seed: int | str):
        self._random = random.Random(seed)
        self._made: set[tuple[str, ...]] = set()
        self._texts = self._random.randrange(len(texts.KINDS) + 1)

    def number(self) -> int:
        """A random number below 2^31, as a seed for a request."""
        return self._random.randrange(2**31)

    def words(self, count: int) -> str:
        """So many random words."""
        return " ".join(self._random.choices(WORDS, k=count))

    def next(self, count: int) -> list[dict[str, Any]]:
        """The messages of one chat, with so many words in all."""
        assert count > SYSTEM_WORDS
        words = tuple(self._random.choices(WORDS, k=count))
        while words in self._made:
            words = tuple(self._random.choices(WORDS, k=count))
        self._made.add(words)
        parts = {"system": words[:SYSTEM_WORDS], "user": words[SYSTEM_WORDS:]}
        return [{"role": role, "content": " ".join(("Words:", *part))} for role, part in parts.items()]

    def text(self) -> list[dict[str, Any]]:
        """The messages of a chat with a real request: of each kind in turn, and one of short words among them. Random
        names in the system message make it a new one."""
        kinds = len(texts.KINDS) + 1
        self._texts += 1
        if self._texts % kinds == 0:
            return self.next(self._random.randint(*SHORT))
        text = texts.KINDS[self._texts % kinds - 1](self._random)
        return texts.messages(self.assistant(), text)

    def assistant(self) -> str:
        """A system message as servers are given, made new by random names."""
        first, second, third = self._random.sample(WORDS, 3)
        return f"{first.title()} {second} is your name, and you help people of {third.title()}."

    def follow_up(self) -> str:
        """What someone says next in a conversation."""
        return texts.follow_up(self._random)

    def story(self) -> list[dict[str, Any]]:
        """The messages of a chat that requests a story. A random name in the system message makes it a new one."""
        who, where, what = map(self._random.choice, (WHO, WHERE, WHAT))
        request = f"Tell a long story about {who}, {where}. It turns on {what}. No lists and no headings; keep going."
        return [
            {"role": "system", "content": f"You are a teller of stories, known as {self.words(3).title()}."},
            {"role": "user", "content": request},
        ]
