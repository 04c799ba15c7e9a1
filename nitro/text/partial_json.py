"""Where the parts of a JSON text lie, which may end in the middle. Makes no values: calls are passed on as written.

The JSON is what Python's `json` reads with `strict=False`: RFC 8259, NaN, the infinities, and raw control characters in
strings.
"""

import json
import re
from dataclasses import dataclass

from nitro.text.tools import Malformed, Unfinished

_SPACE = " \t\n\r"
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_CUT_WORDS = "|".join(word[:length] for word in _WORDS for length in range(1, len(word)))
_CUT_NUMBER = re.compile(r"\.|\.?[eE][+-]?")
# What a text that ends too early holds from the position on at which `json` finds a fault. That position is documented,
# and its messages are not. A string is reported at its opening quote, an escape behind its backslash.
_CUT = re.compile(
    rf"""[ \t\n\r]*+
    (?: "[^"\\]*+(?:\\.[^"\\]*+)*+\\? | (?<=\\)u[0-9a-fA-F]{{0,4}} | {_CUT_NUMBER.pattern} | {_CUT_WORDS} )?
    \Z""",
    re.VERBOSE | re.DOTALL,
)
_decode = json.JSONDecoder(strict=False).raw_decode  # a raw line break in a string is a model's usual slip


@dataclass(slots=True)
class PartialObject:
    """An object, complete or cut off."""

    members: dict[str, str]  # the values of its complete members, as written
    end: int | None  # the position behind it; None: the text ends before it does
    open_member: tuple[str, str] | None = None  # of a member that is cut off in its value: its key, its value so far


def read_object(text: str, at: int = 0) -> PartialObject:
    """Read the object at `at`, in linear time. Raises Malformed where none can be."""
    members: dict[str, str] = {}
    try:
        at = _past_sign(text, skip_space(text, at), "{")
        at = _next_sign(text, at)
        if text[at] == "}":
            return PartialObject(members, at + 1)
        while True:
            key, at = _value(text, _next_sign(text, at))
            if not isinstance(key, str):
                raise Malformed("a key is no string")
            begin = skip_space(text, _past_sign(text, skip_space(text, at), ":"))
            try:
                _, end = _value(text, begin)
            except Unfinished:
                return PartialObject(members, None, (key, text[begin:]))
            members[key] = text[begin:end]
            at = _next_sign(text, end)
            if text[at] == "}":
                return PartialObject(members, at + 1)
            at = _past_sign(text, at, ",")
    except Unfinished:
        return PartialObject(members, None)


def skip_space(text: str, at: int, also: str = "") -> int:
    """The position behind the white space at `at`, and behind the signs of `also`."""
    while at < len(text) and text[at] in _SPACE + also:
        at += 1
    return at


def to_strict(text: str) -> str:
    """The same value in JSON that any parser takes: the text itself if it is that. Raises Malformed for NaN and the
    infinities."""
    try:
        json.loads(text, parse_constant=_refuse)
        return text
    except ValueError:
        return json.dumps(json.loads(text, strict=False, parse_constant=_refuse), ensure_ascii=False)


def _refuse(constant: str) -> None:
    raise Malformed(f"{constant} is no JSON")


def _next_sign(text: str, at: int) -> int:
    at = skip_space(text, at)
    if at == len(text):
        raise Unfinished
    return at


def _past_sign(text: str, at: int, sign: str) -> int:
    if at == len(text):
        raise Unfinished
    if text[at] != sign:
        raise Malformed(f"expected {sign!r} at {at}")
    return at + 1


def _value(text: str, at: int) -> tuple[object, int]:
    """The value at `at` and where it ends. Raises Malformed, or Unfinished where the text ends too early."""
    try:
        value, end = _decode(text, at)
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except json.JSONDecodeError as error:
        if _CUT.match(text, error.pos):
            raise Unfinished from None
        raise Malformed(str(error)) from None
    if _CUT_NUMBER.fullmatch(text, end):
        raise Unfinished
    return value, end
