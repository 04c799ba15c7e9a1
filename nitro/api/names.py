"""Names that other servers and SDKs know for what a request may say: what becomes of each.

A struct lists them in its class variable `known`, by name. `body_rewriting` reads the tables, and docs/parameters.md is
made of them. A name that is neither a field of the struct nor in its table has no effect, and the client is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nitro.errors import ApiError

Translate = Callable[[Any, str], Mapping[str, Any]]  # of a value, and its place, for errors: our fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A name that is not ours. `sources`: who has it. `neutral`: the values, besides null, by which it asks for
    nothing. `note`: a sentence for the docs."""

    sources: tuple[str, ...]
    note: str = ""
    neutral: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped(Known):
    """It sets fields of ours in the same object: `to` one of them, or what `translate` makes of its value.

    A field of an object has a dot: "stream_options.include_usage". `translate` raises ApiError 400.
    """

    to: str
    translate: Translate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Mapped):
    """An object, whose names set fields of the object around it. `translate` is for a value that is no object."""

    to: str = ""
    inside: Mapping[str, Known] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmless(Known):
    """It never changes an answer. `usual`: many clients send it, so that the decoder knows it."""

    usual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Known):
    """It would change the answer or the reply. `note` says what to use instead."""

    def refusal(self, where: str) -> ApiError:
        """400. `where`: the name, with its path."""
        why = "is not supported by this server"
        return ApiError.unsupported(where, f"{why}. {self.note.rstrip('.')}" if self.note else why)


def asks(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a value asks for something: it is neither null nor one of these. 0 is not False, and 1 is not True."""
    return value is not None and not any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral
    )
