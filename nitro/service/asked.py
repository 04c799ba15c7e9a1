"""What is known of a request before it is read: reading needs the model's template."""

from collections.abc import Callable

from msgspec import Struct

from nitro.engines.shares import Tier


class Asked(Struct, frozen=True):
    """Which model a request wants, and what else matters before that is loaded."""

    model: str | None = None  # None: the default
    stream: bool = False
    own: bytes = b""  # what else the protocol wants to know by then, in a form of its own
    tier: Tier | None = None  # see GenerationRequest


Namer = Callable[[bytes], Asked]  # raises ApiError 400 with the parameter at fault
