"""Decodes a request's bytes into its struct: strict JSON first, then one lenient second try.

The second try accepts what the first Nitro's parser accepted (trailing commas, comments) and what JavaScript clients
send when they cut a string in the middle of a character (lone surrogates, replaced by U+FFFD). Errors name the field.
Large bodies get no second try.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from nitro.api.body_rewriting import closed, rewrite
from nitro.errors import ApiError

T = TypeVar("T", bound=msgspec.Struct)

MAX_LENIENT_BODY = 2**20  # bytes; a second try of that size takes half a second

_STRING = r'"(?:[^"\\]++|\\.?)*+"?'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?\*/|(?P<cut>/\*.*)", re.DOTALL)
_TRAILING_COMMA = re.compile(_STRING + r"|,(?=\s*[\]}])", re.DOTALL)
_WHERE = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`")


class Decoded(NamedTuple, Generic[T]):
    """A request. `told`: names without effect, as they may stand in a header. `given`: by our name of a parameter, what
    the client calls it."""

    request: T
    told: list[str]
    given: dict[str, str]


def decode(body: bytes, type: type[T]) -> Decoded[T]:
    """Return the request, in the names of its struct.

    `type` may have a table `known` of other names: see names.py. Raises ApiError 400: no JSON, a wrong type, a missing
    field, or a name that is refused.
    """
    read = _reader(type)
    try:
        return Decoded(read(body), [], {})
    except msgspec.ValidationError:
        repaired = False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        body = _repaired(body, error)
        repaired = True
    given: dict[str, str] = {}
    try:
        try:
            rewritten = rewrite(body, type)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if repaired:
                raise
            rewritten = rewrite(_repaired(body, error), type)
        given = rewritten.given
        return Decoded(read(rewritten.body), rewritten.told, given)
    except msgspec.ValidationError as error:
        raise _wrong_type(error).renamed(given) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _no_json(error) from None


def glance(body: bytes, type: type[T]) -> T:
    """The few fields of `type`, whatever else the body has. Lenient as `decode` is. Raises ApiError 400."""
    read = msgspec.json.Decoder(type, strict=False).decode
    try:
        try:
            return read(body)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return read(_repaired(body, error))
    except msgspec.ValidationError as error:
        raise _wrong_type(error) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _no_json(error) from None


@cache
def _reader(type: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(closed(type), strict=False).decode


def _repaired(body: bytes, cause: Exception) -> bytes:
    """See _repair. Raises ApiError for a body that is too large for a second try."""
    if len(body) > MAX_LENIENT_BODY:
        raise _no_json(cause) from None
    return _repair(body, cause)


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
