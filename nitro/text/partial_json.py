"""Where the parts of a JSON text lie, which may end in the middle: calls are passed on as the model wrote them."""

import json
import re
from dataclasses import dataclass

from nitro.text.tools import Malformed, Unfinished

_SPACE = " \t\n\r"
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_CUT_WORDS = "|".join(word[:length] for word in _WORDS for length in range(1, len(word)))
_CUT_NUMBER = re.compile(r"\.|\.?[eE][+-]?")
# What a text that ends too early holds from the position on at which `json` finds a fault: that is documented, and its
# messages are not. A string is reported at its opening quote, an escape behind its backslash.
_CUT = re.compile(
    rf"""[ \t\n\r]*+
    (?: "[^"\\]*+(?:\\.[^"\\]*+)*+\\? | (?<=\\)u[0-9a-fA-F]{{0,4}} | {_CUT_NUMBER.pattern} | {_CUT_WORDS} )?
    \Z""",
    re.VERBOSE | re.DOTALL,
)
_decode = json.JSONDecoder(strict=False).raw_decode  # a raw line break in a string is a model's usual slip


@dataclass(slots=True)
class Object:
    """The members of an object, as written. `end`: behind it; None: it is not finished, and `open` is what there is of
    the last member, its key and its value so far."""

    members: dict[str, str]
    end: int | None
    open: tuple[str, str] | None = None


def read_object(text: str, at: int = 0) -> Object:
    """The object at `at`. Raises Malformed where none can be."""
    members: dict[str, str] = {}
    try:
        at = _expect(text, skip(text, at), "{")
        if text[(at := _there(text, at)) :].startswith("}"):
            return Object(members, at + 1)
        while True:
            key, at = _value(text, _there(text, at))
            if not isinstance(key, str):
                raise Malformed("a key is no string")
            at = _expect(text, skip(text, at), ":")
            begin = skip(text, at)
            try:
                _, end = _value(text, begin)
            except Unfinished:
                return Object(members, None, (key, text[begin:]))
            members[key] = text[begin:end]
            if text[at := _there(text, end)] == "}":
                return Object(members, at + 1)
            at = _expect(text, at, ",")
    except Unfinished:
        return Object(members, None)


def skip(text: str, at: int, also: str = "") -> int:
    """Behind the white space at `at`."""
    while at < len(text) and text[at] in _SPACE + also:
        at += 1
    return at


def strict(text: str) -> str:
    """The same value in JSON that any parser takes; the text itself where it is that. Raises Malformed for NaN and the
    infinities, which are none."""
    try:
        json.loads(text, parse_constant=_refuse)
        return text
    except ValueError:
        return json.dumps(json.loads(text, strict=False, parse_constant=_refuse), ensure_ascii=False)


def _refuse(constant: str) -> None:
    raise Malformed(f"{constant} is no JSON")


def _there(text: str, at: int) -> int:
    if (at := skip(text, at)) == len(text):
        raise Unfinished
    return at


def _expect(text: str, at: int, sign: str) -> int:
    if _there(text, at) != at or text[at] != sign:
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
