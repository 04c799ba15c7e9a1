"""What a JSON text means to its reader, where that is not what its letters say. A grammar sees letters only.

Of a key that stands twice the last value counts, a key may be spelled with escapes, and a fraction becomes a double.
Knows no schema and no grammar.
"""

import json
import math
from decimal import Decimal, InvalidOperation
from typing import Any

MAX_QUOTED = 80  # characters of a model's own text in a message


class _Members(list[tuple[str, Any]]):
    """The members of an object as they are written, duplicates included."""


class _Number(str):
    """A number as it is written."""


def plainly(text: str) -> tuple[str, str] | None:
    """The text as it is understood, spelled plainly, and its oddities, for people. None: it is plain already.

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
    oddities: list[str] = []
    plain = _spelled(value, "", oddities)
    return plain, "; ".join(oddities) or "a key is spelled with escapes and is one of its properties all the same"


def _spelled(value: Any, pointer: str, oddities: list[str]) -> str:
    """`pointer`: where the value is. What is not plain is added to `oddities`."""
    if isinstance(value, _Members):
        members: dict[str, Any] = {}
        for key, inner in value:
            if key in members:
                oddities.append(
                    f"the key {_quoted(key)} stands twice (at {_quoted(_step(pointer, key))}) and counts once"
                )
            members[key] = inner
        parts = (f"{_dumped(key)}:{_spelled(inner, _step(pointer, key), oddities)}" for key, inner in members.items())
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spelled(inner, f"{pointer}/{i}", oddities) for i, inner in enumerate(value)) + "]"
    if not isinstance(value, _Number):
        return _dumped(value)
    if not any(sign in value for sign in ".eE") or (read := _as_double(value)) == value:
        return value
    oddities.append(f"the number {_quoted(value)} (at {_quoted(pointer or '/')}) is read as {read[:MAX_QUOTED]}")
    return read


def _as_double(text: str) -> str:
    """The number as a double has it. The same text where both are equal, and where no double is finite."""
    double = float(text)
    if not math.isfinite(double):
        return text
    read = Decimal(repr(double))
    try:
        return text if Decimal(text) == read else format(read, "f")
    except InvalidOperation:  # an exponent beyond all measure
        return format(read, "f")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # as llguidance has it


def _step(pointer: str, key: str) -> str:
    return f"{pointer}/{escaped(key)}"


def escaped(key: str) -> str:
    """The key as a step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…", ensure_ascii=False)
