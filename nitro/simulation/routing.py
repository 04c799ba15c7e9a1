"""Rules by which a router chooses the server of a request. Pure.

Hashes are rendezvous hashes (Thaler and Ravishankar, 1998): each request ranks the servers in an order of its own, and
takes the first. One more or one less server moves one request in so many as there are servers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import ceil
from random import Random

from nitro.simulation.traffic import Request

PREFIX = 64  # tokens at a prompt's beginning that a router hashes
SLACK = 1.25  # times the mean of requests under way that a server may have, where loads are bounded

Ranks = list[int]  # replicas, the first choice first


class Rule(ABC):
    """A choice between `replicas` servers."""

    def __init__(self, replicas: int, seed: int, prefix: int = PREFIX):
        self.replicas = replicas
        self.prefix = prefix
        self.random = Random(seed)
        self._ranks: dict[bytes, Ranks] = {}

    @abstractmethod
    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """The server for a client's request. `underway`: requests that each server has."""

    def ranks(self, key: bytes) -> Ranks:
        """The servers in the order of this key."""
        if (known := self._ranks.get(key)) is None:
            weights = [blake2b(b"%d " % place + key, digest_size=8).digest() for place in range(self.replicas)]
            known = self._ranks[key] = sorted(range(self.replicas), key=weights.__getitem__)
        return known

    def begins(self, request: Request) -> bytes:
        """A prompt's beginning, as a key."""
        return repr(request.prompt[: self.prefix]).encode()


class AtRandom(Rule):
    """Any."""

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        return self.random.randrange(self.replicas)


class InTurn(Rule):
    """One after the other."""

    _last = -1

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        self._last = (self._last + 1) % self.replicas
        return self._last


class LeastBusy(Rule):
    """That with the fewest requests, of equals any."""

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        least = min(underway)
        return self.random.choice([place for place, count in enumerate(underway) if count == least])


class ByClient(Rule):
    """Always the same for a client, as a hash of its address."""

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        return self.ranks(b"client %d" % client)[0]


class ByConversation(Rule):
    """Always the same for a conversation, as a hash of `x-nitro-prefix`."""

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        return self.ranks(b"conversation %d" % request.conversation)[0]


class ByPrefix(Rule):
    """Always the same for prompts that begin alike."""

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        return self.ranks(self.begins(request))[0]


class ByBoundedPrefix(Rule):
    """The same, but the next in the prefix's order where a server has far more than its part of all requests
    (Mirrokni, Thorup and Zadimoghaddam, 2016, Consistent Hashing with Bounded Loads, arXiv:1608.01350)."""

    def choose(self, client: int, request: Request, underway: Sequence[int]) -> int:
        """See Rule."""
        most = ceil(SLACK * (sum(underway) + 1) / self.replicas)
        return next(place for place in self.ranks(self.begins(request)) if underway[place] < most)


RULES: dict[str, Callable[[int, int, int], Rule]] = {
    "random": AtRandom,
    "round-robin": InTurn,
    "least-busy": LeastBusy,
    "client": ByClient,
    "conversation": ByConversation,
    "prefix": ByPrefix,
    "prefix-bounded": ByBoundedPrefix,
}
