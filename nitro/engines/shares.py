"""For whom a request computes, and how much of the engine is theirs beside others.

A share is a user's requests of one tier. Who shares the engine gets tokens as the weights say, whoever sends more
requests.
"""

from typing import Literal

from msgspec import Struct

Tier = Literal["flex", "default", "priority"]

FLEX: Tier = "flex"  # nobody waits for it
WEIGHTS: dict[Tier, float] = {"flex": 1 / 16, "default": 1.0, "priority": 4.0}


class Share(Struct, frozen=True):
    """`user`: a name that the server gives, of a key or of an address; it means nothing here. `context`: tokens that a
    prompt and its answer may have; None: as many as the model's context."""

    user: str = ""
    tier: Tier = "default"
    context: int | None = None

    @property
    def weight(self) -> float:
        """Tokens beside those of a share that has 1."""
        return WEIGHTS[self.tier]


NOBODYS = Share()
