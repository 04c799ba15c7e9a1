"""Requests to be simulated: what each asks and is answered, as tokens, and which of them make a conversation.

Token ids stand for texts: two prompts begin with the same ids as far as they begin with the same text. Where there are
more clients than conversations, these are copied: what a copy shares with another conversation (a system prompt) stays
shared, and all the rest is new, so that no copy finds in a cache what a client of its own would not.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from nitro.engines.scheduling.slots import shared_prefix
from nitro.errors import SimulationError

FRESH = 2**32  # ids from here on are a copy's own; each copy has as many


@dataclass(frozen=True, slots=True)
class Request:
    """`at`: seconds after the first one. `prompt`, `answer`: token ids, at least one each. `conversation`: its number,
    by which a router may know it."""

    prompt: list[int]
    answer: list[int]
    at: float = 0.0
    conversation: int = 0

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Requests of one client, one after the other. `shared`: tokens at the beginning that other conversations have
    as well."""

    requests: list[Request]
    shared: int = 0

    def copy(self, number: int) -> "Conversation":
        """One that says something else where it is not shared. Copies of different numbers differ; 0 is itself."""
        if not number:
            return self
        requests = []
        for request in self.requests:
            cut = self.shared
            prompt = request.prompt[:cut] + [token + number * FRESH for token in request.prompt[cut:]]
            answer = [token + number * FRESH for token in request.answer]
            requests.append(Request(prompt, answer, request.at, request.conversation + number * FRESH))
        return Conversation(requests, self.shared)


@dataclass(frozen=True, slots=True)
class Traffic:
    """`left_out`: requests of the record that cannot be simulated."""

    conversations: list[Conversation]
    left_out: int = 0

    def in_time(self) -> list[tuple[int, Request]]:
        """All requests with the number of their conversation, oldest first."""
        found = [(number, each) for number, talk in enumerate(self.conversations) for each in talk.requests]
        return sorted(found, key=lambda pair: pair[1].at)

    def by_client(self, clients: int, least: int = 0) -> list[list[Request]]:
        """What each of so many clients sends, one request after the other: conversations are dealt out in turn, each
        once or, with more clients, so that each client has one, and until each has `least` requests."""
        known = self.conversations
        sent: list[list[Request]] = [[] for _ in range(clients)]
        for client, requests in enumerate(sent):
            number = client
            while number < max(clients, len(known)) or len(requests) < least:
                requests += known[number % len(known)].copy(number // len(known)).requests
                number += clients
            if least:
                del requests[least:]
        return sent


def joined(conversations: Sequence[Sequence[Request]], left_out: int = 0) -> Traffic:
    """Traffic of these, each with what it shares with others. Raises SimulationError where there is no request."""
    if not conversations:
        raise SimulationError("there is no request in it that was answered with text.")
    order = sorted((request.prompt, number) for number, talk in enumerate(conversations) for request in talk)
    shared = [0] * len(conversations)
    for (prompt, number), (other, of_other) in itertools.pairwise(order):
        if number != of_other:
            length = min(shared_prefix(prompt, other), len(prompt) - 1, len(other) - 1)
            shared[number], shared[of_other] = max(shared[number], length), max(shared[of_other], length)
    numbered = [[replace(each, conversation=number) for each in talk] for number, talk in enumerate(conversations)]
    return Traffic([*map(Conversation, numbered, shared)], left_out)


@dataclass(frozen=True, slots=True)
class Made:
    """Conversations that nobody had, for questions such as: what if each customer has a long system prompt?

    `customers`: system prompts, one of which each conversation begins with; the first are the more frequent, as 1, 1/2,
    1/3 … (Zipf's law) where `skewed`. Lengths are tokens; questions and answers vary by half.
    """

    conversations: int
    turns: int = 3
    customers: int = 10
    system: int = 500
    question: int = 60
    answer: int = 60
    skewed: bool = False

    def traffic(self, seed: int) -> Traffic:
        """The same for the same seed."""
        random = Random(seed)
        fresh = iter(range(2**31))
        systems = [[next(fresh) for _ in range(self.system)] for _ in range(self.customers)]
        weights = [1 / (place + 1) if self.skewed else 1.0 for place in range(self.customers)]
        talks = []
        for system in random.choices(systems, weights, k=self.conversations):
            said, requests = list(system), []
            for _ in range(self.turns):
                said = said + [next(fresh) for _ in range(_about(self.question, random))]
                answer = [next(fresh) for _ in range(_about(self.answer, random))]
                requests.append(Request(said, answer))
                said = said + answer
            talks.append(requests)
        return joined(talks)


def _about(length: int, random: Random) -> int:
    return max(1, random.randint(length // 2, length + length // 2))
