"""The `format`s of strings as regular expressions of our own, each as exact as a regular expression can be.

llguidance's own let 29 February through in every year, seconds of 60 at any time, and hostnames of any length.
"""

from dataclasses import dataclass
from typing import Any

from nitro.engines.constraints.schema_walk import MAX_BOUND


@dataclass(frozen=True, slots=True)
class Format:
    """What a string must match, all of it, and how long it may be."""

    patterns: tuple[str, ...]
    max_length: int | None = None


# RFC 3339, section 5.6. The 29th of February is in leap years only. A leap second is the last one of a day in UTC; that
# it may also be written with another offset would take an expression of 2,880 alternatives.
_DAYS = (
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP_DAYS = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DATE = rf"(?:{_DAYS}|{_LEAP_DAYS})"
_FRACTION = r"(?:\.[0-9]+)?"
_TIME = (
    rf"(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]{_FRACTION}(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    rf"|23:59:60{_FRACTION}(?:[zZ]|[+-]00:00))"
)
# RFC 3339, appendix A.
_CLOCK = r"T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DAYS_OF = r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION = rf"P(?:{_DAYS_OF}(?:{_CLOCK})?|{_CLOCK}|[0-9]+W)"

# RFC 3986, section 3.2.2: an IPv4 address may stand in the place of the last two groups.
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_GROUP = r"[0-9a-fA-F]{1,4}"
_LAST = rf"(?:{_GROUP}:{_GROUP}|{_IPV4})"
_IPV6 = (
    rf"(?:(?:{_GROUP}:){{6}}{_LAST}|::(?:{_GROUP}:){{5}}{_LAST}"
    + "".join(rf"|(?:(?:{_GROUP}:){{0,{n}}}{_GROUP})?::(?:{_GROUP}:){{{4 - n}}}{_LAST}" for n in range(5))
    + rf"|(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}|(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::)"
)

# RFC 1123, section 2.1: labels of at most 63 letters, digits and inner hyphens; 253 characters in all (RFC 1035, 3.1).
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
# RFC 5321, section 4.1.2, but for an @ in quotes; lengths by 4.5.3.1: 64 before the @, 254 in all.
_ATOM = r"[a-zA-Z0-9!#$%&'*+\-/=?^_`{|}~]+"
_QUOTED = r'"(?:[ !#-?A-\[\]-~]|\\[ -?A-~])*"'
_LITERAL = rf"\[(?:{_IPV4}|IPv6:{_IPV6})\]"
_EMAIL = rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?:{_HOSTNAME}|{_LITERAL})"
_EMAIL_LENGTHS = r"[^@]{1,64}@[^@]*"

# RFC 3986, appendix A; RFC 3987 adds characters beyond ASCII.
_HIGH = r"\u00A0-\uD7FF\uF900-\uFDCF\uFDF0-\uFFEF\U00010000-\U0001FFFD\U00020000-\U0002FFFD"
_PRIVATE = r"\uE000-\uF8FF"


def _reference(high: str, private: str, absolute: bool) -> str:
    """A URI or IRI, or a reference to one. `high`, `private`: ranges beyond ASCII that it may have."""
    escape = "%[0-9a-fA-F]{2}"
    plain = rf"a-zA-Z0-9\-._~!$&'()*+,;={high}"
    segment = rf"(?:[{plain}:@]|{escape})"
    first = rf"(?:[{plain}@]|{escape})"  # of a path without a scheme: it has no colon
    host = rf"(?:\[(?:{_IPV6}|v[0-9a-fA-F]+\.[a-zA-Z0-9\-._~!$&'()*+,;=:]+)\]|(?:[{plain}]|{escape})*)"
    authority = rf"(?:(?:[{plain}:]|{escape})*@)?{host}(?::[0-9]*)?"
    rest = rf"(?:/{segment}*)*"
    rooted = rf"//{authority}{rest}|/(?:{segment}+{rest})?"
    tail = rf"(?:\?(?:{segment}|[/?{private}])*)?(?:#(?:{segment}|[/?])*)?"
    whole = rf"[a-zA-Z][a-zA-Z0-9+\-.]*:(?:{rooted}|{segment}+{rest})?{tail}"
    return whole if absolute else rf"(?:{whole}|(?:{rooted}|{first}+{rest})?{tail})"


# RFC 6570, section 2.
_NAME = r"(?:[a-zA-Z0-9_]|%[0-9a-fA-F]{2})(?:\.?(?:[a-zA-Z0-9_]|%[0-9a-fA-F]{2}))*(?::[1-9][0-9]{0,3}|\*)?"
_TEMPLATE = rf"(?:[!#$&(-;=?-\[\]_a-z~{_HIGH}{_PRIVATE}]|%[0-9a-fA-F]{{2}}|\{{[+#./;?&=,!@|]?{_NAME}(?:,{_NAME})*\}})*"
_STEPS = r"(?:/(?:[^~/]|~[01])*)*"  # RFC 6901, section 3

FORMATS: dict[str, Format] = {
    "date": Format((_DATE,)),
    "time": Format((_TIME,)),
    "date-time": Format((rf"{_DATE}[tT]{_TIME}",)),
    "duration": Format((_DURATION,)),
    "ipv4": Format((_IPV4,)),
    "ipv6": Format((_IPV6,)),
    "hostname": Format((_HOSTNAME,), 253),
    "email": Format((_EMAIL, _EMAIL_LENGTHS), 254),
    "uuid": Format((r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",)),
    "uri": Format((_reference("", "", absolute=True),)),
    "uri-reference": Format((_reference("", "", absolute=False),)),
    "iri": Format((_reference(_HIGH, _PRIVATE, absolute=True),)),
    "iri-reference": Format((_reference(_HIGH, _PRIVATE, absolute=False),)),
    "uri-template": Format((_TEMPLATE,)),
    "json-pointer": Format((_STEPS,)),
    "relative-json-pointer": Format((rf"(?:0|[1-9][0-9]*)(?:#|{_STEPS})",)),
    # Of OpenAPI. "byte" is base64 (RFC 4648, section 4).
    "byte": Format((r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",)),
    "binary": Format(()),
    "password": Format(()),
}

# OpenAPI's formats of numbers: what they bound. No string is held to them. Of 64 bits a grammar has nearly all.
NUMBER_FORMATS: dict[str, dict[str, Any]] = {
    **{f"int{bits}": {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1} for bits in (8, 16, 32)},
    **{f"uint{bits}": {"minimum": 0, "maximum": 2**bits - 1} for bits in (8, 16, 32)},
    "int64": {"minimum": -MAX_BOUND, "maximum": MAX_BOUND},
    "uint64": {"minimum": 0, "maximum": MAX_BOUND},
    "float": {},
    "double": {},
}


def as_patterns(format: str) -> list[dict[str, Any]] | None:
    """Schemas that together mean this format; None: it is not known, or no grammar can have it (`regex`)."""
    if format in NUMBER_FORMATS:
        return [NUMBER_FORMATS[format]] if NUMBER_FORMATS[format] else []
    if (known := FORMATS.get(format)) is None:
        return None
    schemas: list[dict[str, Any]] = [{"pattern": f"^(?:{pattern})$"} for pattern in known.patterns]
    return schemas + ([{"maxLength": known.max_length}] if known.max_length else [])
