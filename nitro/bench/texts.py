"""Requests as people write them, of several kinds: questions, code, lists and rewrites. Written for this file.

With a chat template each has about 50 to 100 tokens. What varies is chosen at random, so that few are alike.
"""

import random
from collections.abc import Callable
from typing import Any

PLACES = (
    "a small flat without a balcony",
    "an old house by the sea",
    "a village school",
    "a bakery that opens at five",
    "a hut in the mountains",
    "an office with eleven people",
    "a farm with two horses",
    "a shop for used bicycles",
)
EVENTS = (
    "a week of rain",
    "a wedding of forty guests",
    "the first day of winter",
    "a long train journey with children",
    "a visit from my grandmother",
    "the night before an examination",
    "a power cut",
    "a walk of thirty kilometres",
)
THINGS = (
    "bread",
    "a leaking tap",
    "tomato plants",
    "a wool sweater",
    "a wooden chair",
    "the bicycle chain",
    "a cast iron pan",
    "my winter boots",
)
QUESTIONS = (
    "What should I do first, and what can wait until later?",
    "Explain it as you would to a friend who has never done it.",
    "What do most people get wrong here, and why?",
    "How would you plan this if money were short?",
    "Tell me what it depends on, with an example.",
    "Is that a good idea? Give me reasons on both sides.",
)
FOLLOW_UPS = (
    "Say more about the second thing you said.",
    "Why is that? I would have thought the opposite.",
    "And what if I have only one hour?",
    "Give me an example from everyday life.",
    "Which part of it is the hardest?",
    "Can you put that in simpler words?",
    "What would an expert say against it?",
    "How do I know that it has worked?",
    "What does it cost, roughly?",
    "What should I buy, and what do I have at home?",
    "Tell me about somebody who tried that.",
    "Now sum up in a few sentences what we have so far.",
)

NAMES = ("total", "count_words", "longest", "merge", "parse_line", "average", "unique", "rotate")
FUNCTIONS = (
    """\
def {name}(items):
    result = 0
    for item in items:
        if item > {n}:
            result += item
    return result""",
    """\
def {name}(text):
    parts = text.split(',')
    return [part.strip() for part in parts if len(part) < {n}]""",
    """\
function {name}(list) {{
  let best = list[0];
  for (let i = {n}; i < list.length; i++)
    if (list[i] > best) best = list[i];
  return best;
}}""",
    """\
int {name}(const int *a, int n) {{
    int s = {n};
    for (int i = 0; i < n; i++) s += a[i] * a[i];
    return s;
}}""",
    "SELECT {name}, COUNT(*) AS n FROM visits WHERE day > {n} GROUP BY {name} ORDER BY n DESC;",
    """\
class Counter:
    def __init__(self):
        self.{name} = {n}

    def add(self, step=1):
        self.{name} += step
        return self.{name}""",
)
CODE_TASKS = (
    "Write a test for this code that covers the empty case.",
    "Write the same in another language and explain the difference.",
    "Add comments and types, and return the whole code.",
    "Find what can go wrong in this code and write a better version.",
)

LISTS = (
    "Write a packing list for {event} in {place}. One item per line, with the number of each.",
    "List {n} ways to look after {thing} in {place}. Number them, and give one sentence for each.",
    "Make a table with three columns for {n} things that I need for {event}: what, how many, and who brings it.",
    "Write a timetable for {event}, hour by hour from seven in the morning, and say what happens in {place}.",
)

SENTENCES = (
    "The meeting was moved to Thursday because the room was taken, and nobody told the people from the second floor.",
    "We would be very grateful if you could let us know by Friday whether the delivery has left your warehouse.",
    "My brother says that he has paid for the tickets already, but I cannot find the letter with the numbers.",
    "The lift does not work since Monday, so please carry nothing heavy up the stairs without help.",
    "Last summer the garden was so dry that the old apple tree lost half of its leaves in August.",
    "The report is late since two of us were ill and the third had to learn the program first.",
    "It is not allowed to leave bicycles in the hall, as they are in the way of the post.",
    "When the bus came at last it was full, and we walked home in the dark with all our bags.",
)
STYLES = (
    "Correct the text and change as little as you can",
    "Write this again in a friendlier tone, and keep every fact",
    "Write this again in the past tense, word for word otherwise",
    "Repeat this text, and after each sentence add a short one that explains it",
)


def question(choose: random.Random) -> str:
    """Someone wants advice."""
    start = choose.choice(
        ("I live in {place} and have to get ready for {event}.", "In {place} I want to mend {thing}.")
    )
    return f"{_filled(choose, start)} {choose.choice(QUESTIONS)}"


def code(choose: random.Random) -> str:
    """A few lines of code, and what to do with them."""
    lines = choose.choice(FUNCTIONS).format(name=choose.choice(NAMES), n=choose.randrange(2, 90))
    return f"{choose.choice(CODE_TASKS)}\n```\n{lines}\n```"


def listing(choose: random.Random) -> str:
    """A list or a table is wanted."""
    return _filled(choose, choose.choice(LISTS))


def rewriting(choose: random.Random) -> str:
    """A short text that is to be written again."""
    return f"{choose.choice(STYLES)}:\n\n{' '.join(choose.sample(SENTENCES, 2))}"


KINDS: tuple[Callable[[random.Random], str], ...] = (question, code, listing, rewriting)


def follow_up(choose: random.Random) -> str:
    """What someone says next in a conversation, whatever was answered."""
    return choose.choice(FOLLOW_UPS)


def messages(system: str, text: str) -> list[dict[str, Any]]:
    """A chat with one request."""
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def _filled(choose: random.Random, text: str) -> str:
    return text.format(
        place=choose.choice(PLACES),
        event=choose.choice(EVENTS),
        thing=choose.choice(THINGS),
        n=choose.randrange(5, 12),
    )
