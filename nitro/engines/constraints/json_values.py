"""What a JSON text means to who reads it, where that is not what its letters say. A grammar sees letters only.

Of a key that stands twice the last value counts, a key may be spelled with escapes, and a fraction becomes a double.
Knows no schema and no grammar.
"""

import json
import math
from decimal import Decimal, InvalidOperation
from typing import Any

SHOWN = 80  # characters of a model's own words in a message


class _Members(list[tuple[str, Any]]):
    """The members of an object as they stand there."""


class _Number(str):
    """A number as it stands there."""


def plainly(text: str) -> tuple[str, str] | None:
    """The text as it is understood, spelled plainly, and what was not so plain, for people. None: it was plain.

    Raises ValueError or RecursionError where it cannot be read.
    """
    doubled = rounded = False

    def members(pairs: list[tuple[str, Any]]) -> _Members:
        nonlocal doubled
        doubled = doubled or len({key for key, _ in pairs}) < len(pairs)
        return _Members(pairs)

    def fraction(text: str) -> _Number:
        nonlocal rounded
        rounded = rounded or _as_double(text) != text
        return _Number(text)

    value = json.loads(text, object_pairs_hook=members, parse_int=_Number, parse_float=fraction)
    escaped = "\\u" in text
    if not (doubled or rounded or escaped):
        return None
    odd: list[str] = []
    plain = _spelled(value, "", odd)
    return plain, "; ".join(odd) or "a key is spelled with escapes and is one of its properties all the same"


def _spelled(value: Any, at: str, odd: list[str]) -> str:
    """`at`: a JSON pointer. What is not plain is added to `odd`."""
    if isinstance(value, _Members):
        members: dict[str, Any] = {}
        for key, inner in value:
            if key in members:
                odd.append(f"the key {_shown(key)} stands twice (at {_shown(_step(at, key))}) and counts once")
            members[key] = inner
        parts = (f"{_written(key)}:{_spelled(inner, _step(at, key), odd)}" for key, inner in members.items())
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spelled(inner, f"{at}/{i}", odd) for i, inner in enumerate(value)) + "]"
    if not isinstance(value, _Number):
        return _written(value)
    if not any(sign in value for sign in ".eE") or (read := _as_double(value)) == value:
        return value
    odd.append(f"the number {_shown(value)} (at {_shown(at or '/')}) is read as {read[:SHOWN]}")
    return read


def _as_double(text: str) -> str:
    """The number as a double has it: the same text where it is the same number, or none, which keeps what it kept."""
    double = float(text)
    if not math.isfinite(double):
        return text
    read = Decimal(repr(double))
    try:
        return text if Decimal(text) == read else format(read, "f")
    except InvalidOperation:  # an exponent beyond all measure
        return format(read, "f")


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # as llguidance has it


def _step(at: str, key: str) -> str:
    return f"{at}/{escaped(key)}"


def escaped(key: str) -> str:
    """The key as a step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _shown(text: str) -> str:
    return json.dumps(text if len(text) <= SHOWN else text[:SHOWN] + "…", ensure_ascii=False)
