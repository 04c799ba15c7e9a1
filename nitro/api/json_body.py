"""Decodes a request's bytes into its struct: strict JSON first, then one lenient second try.

The second try accepts what the first Nitro's parser accepted (trailing commas, comments) and what JavaScript clients
send when they cut a string in the middle of a character (lone surrogates, replaced by U+FFFD). Errors name the field.
Large bodies get no second try.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import msgspec

from nitro.errors import ApiError

T = TypeVar("T", bound=msgspec.Struct)

MAX_LENIENT_BODY = 2**20  # bytes; a second try of that size takes half a second

_STRING = r'"(?:[^"\\]++|\\.?)*+"?'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?\*/|(?P<cut>/\*.*)", re.DOTALL)
_TRAILING_COMMA = re.compile(_STRING + r"|,(?=\s*[\]}])", re.DOTALL)
_WHERE = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`")

# Values by which a parameter asks for nothing.
NOTHING: tuple[Any, ...] = (None, False, [], "none")

_decode_keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode(body: bytes, type: type[T]) -> tuple[T, list[str]]:
    """Return the request and the names of the parameters that will have no effect.

    `type` may have a class variable `unsupported`: known parameters that are refused, each with the values by which it
    asks for nothing, besides NOTHING. Raises ApiError 400: no JSON, a wrong type, a missing field, or one of these.
    """
    decoder, fields = _reader(type)
    unsupported: Mapping[str, tuple[Any, ...]] = getattr(type, "unsupported", {})
    try:
        try:
            return decoder(body), _without_effect(body, fields, unsupported)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if isinstance(error, msgspec.ValidationError):
                raise
            if len(body) > MAX_LENIENT_BODY:
                raise _no_json(error) from None
            body = _repair(body, error)
            return decoder(body), _without_effect(body, fields, unsupported)
    except msgspec.ValidationError as error:
        raise _wrong_type(error) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _no_json(error) from None


@cache
def _reader(type: type[T]) -> tuple[Callable[[bytes], T], frozenset[str]]:
    return msgspec.json.Decoder(type, strict=False).decode, frozenset(f.name for f in msgspec.structs.fields(type))


def _repair(body: bytes, cause: Exception) -> bytes:
    """Return strict JSON with the same meaning. If there is none, raise ApiError with the message of the first try."""
    try:
        text = _COMMENT.sub(_unless_string, body.decode("utf-8-sig"))
        value = json.loads(_TRAILING_COMMA.sub(_unless_string, text), parse_constant=_no_constant)
        return (
            json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        )
    except (ValueError, RecursionError):
        raise _no_json(cause) from None


def _unless_string(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') or match.lastgroup == "cut" else " "


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_json(error: Exception) -> ApiError:
    return ApiError(400, f"The body is not valid JSON: {error}.")


def _wrong_type(error: msgspec.ValidationError) -> ApiError:
    match = _WHERE.match(str(error))
    assert match is not None
    what, where = match[1], match[2] or ""
    if missing := _MISSING.search(what):
        return ApiError.missing(f"{where}.{missing[1]}" if where else missing[1])
    if not where:
        return ApiError(400, f"The body must be a JSON object: {what}.", code="invalid_type")
    return ApiError(400, f"Invalid type for '{where}': {what}.", param=where, code="invalid_type")


def _without_effect(body: bytes, fields: frozenset[str], unsupported: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Names of the parameters that ask for something and are not read. Raises ApiError for those that are
    unsupported."""
    ignored = []
    for name, raw in _decode_keys(body).items():
        if name in fields:
            continue
        try:
            value: Any = msgspec.json.decode(raw)
        except msgspec.ValidationError:
            value = raw  # a number out of range: the parameter is set
        if _is_in(value, NOTHING):
            continue
        if name not in unsupported:
            ignored.append(quote(name, safe=""))
        elif not _is_in(value, unsupported[name]):
            raise ApiError.unsupported(name)
    return ignored


def _is_in(value: Any, values: tuple[Any, ...]) -> bool:
    """Like `in`, but 0 is not False and 1 is not True."""
    return any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in values)
