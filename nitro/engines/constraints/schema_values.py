"""Schemas that a few values keep, and whether a value keeps a schema."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from nitro.engines.constraints.schema_types import Schema, Scope, as_schema, integer, named_types, type_of

MAX_VALUES = 256  # of a schema that is taken for a choice
Verdict = bool | None  # None: it is not known


def key(value: Any) -> str:
    """Equal for values that are equal in JSON Schema: 1 is 1.0, true is not 1, members have no order."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        if isinstance(value, list):
            return "[" + ",".join(map(key, value)) + "]"
        if isinstance(value, dict):
            return "{" + ",".join(f"{json.dumps(name)}:{key(value[name])}" for name in sorted(value)) + "}"
        return json.dumps(value)
    return str(int(value)) if type_of(value) == "integer" else repr(float(value))


def distinct(values: list[Any]) -> list[Any]:
    """Without what is equal to one before."""
    return list({key(value): value for value in reversed(values)}.values())[::-1]


def values(schema: Schema, scope: Scope) -> list[Any] | None:
    """All values that keep the schema; None: it is not known, or they are more than MAX_VALUES."""
    candidates = _candidates(schema, scope)
    if candidates is None or len(candidates) > MAX_VALUES:
        return None
    verdicts = [(value, holds(schema, value, scope)) for value in distinct(candidates)]
    if any(verdict is None for _, verdict in verdicts):
        return None
    return [value for value, verdict in verdicts if verdict]


def _candidates(schema: Schema, scope: Scope) -> list[Any] | None:
    """Values among which all are that keep the schema."""
    parts = list(scope.parts(schema))
    for part in parts:
        if "const" in part:
            return [part["const"]]
        if isinstance(part.get("enum"), list):
            return list(part["enum"])
    for part in parts:
        if options := part.get("anyOf"):
            each = [_candidates(as_schema(option), scope) for option in options]
            if all(found is not None for found in each):
                return [value for found in each for value in found or []]
    return _of_types(scope.types(schema), parts)


def _of_types(types: frozenset[str], parts: list[Schema]) -> list[Any] | None:
    if types - {"null", "boolean", "integer"}:
        return None
    found: list[Any] = ([None] if "null" in types else []) + ([False, True] if "boolean" in types else [])
    if "integer" not in types:
        return found
    lows = [part[k] for part in parts for k in ("minimum", "exclusiveMinimum") if _is_number(part.get(k))]
    highs = [part[k] for part in parts for k in ("maximum", "exclusiveMaximum") if _is_number(part.get(k))]
    if not lows or not highs or max(lows) < -(2**53) or min(highs) > 2**53 or min(highs) - max(lows) > MAX_VALUES:
        return None
    return found + list(range(int(max(lows)) - 1, int(min(highs)) + 2))


def holds(schema: Any, value: Any, scope: Scope) -> Verdict:
    """Whether a value keeps a schema."""
    scope.step()
    verdicts = [_own(part, value, scope) for part in scope.parts(as_schema(schema))]
    return _all([*verdicts, None if not scope.is_known(as_schema(schema)) else True])


def _own(part: Schema, value: Any, scope: Scope) -> Verdict:
    kind = type_of(value)
    kind = "number" if kind in ("integer", "fraction") else kind
    checks = [(keyword, argument) for keyword, argument in part.items() if keyword in _CHECKS or keyword in _UNKNOWN]
    found: list[Verdict] = []
    for keyword, argument in checks:
        if keyword in _UNKNOWN:
            found.append(None if kind == _UNKNOWN[keyword] else True)
            continue
        applies_to, check = _CHECKS[keyword]
        found.append(check(argument, value, part, scope) if applies_to in (kind, "") else True)
    return _all(found)


def _all(verdicts: list[Verdict]) -> Verdict:
    return False if False in verdicts else None if None in verdicts else True


def _any(verdicts: list[Verdict]) -> Verdict:
    return True if True in verdicts else None if None in verdicts else False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_multiple(argument: Any, value: Any) -> Verdict:
    return Decimal(repr(value)) % Decimal(repr(argument)) == 0 if _is_number(argument) and argument else None


def _items(part: Schema, value: list[Any], scope: Scope) -> Verdict:
    prefix, rest = tuple_of(part)
    schemas = [*prefix[: len(value)], *[rest] * (len(value) - len(prefix))]
    return _all([holds(schema, item, scope) for schema, item in zip(schemas, value, strict=True)])


def tuple_of(part: Schema) -> tuple[list[Any], Any]:
    """The schemas of an array's first items, and that of all others, of any draft."""
    items = part.get("items", True)
    if isinstance(items, list):
        return items, part.get("additionalItems", True)
    prefix = part.get("prefixItems", [])
    return (prefix if isinstance(prefix, list) else []), items


def _members(part: Schema, value: dict[str, Any], scope: Scope) -> Verdict:
    properties = part.get("properties", {})
    if not isinstance(properties, dict) or "patternProperties" in part:
        return None
    others = part.get("additionalProperties", True)
    return _all([holds(properties.get(name, others), inner, scope) for name, inner in value.items()])


Check = Callable[[Any, Any, Schema, Scope], Verdict]
# By keyword: the type of the values to which it applies (none: all), and the check.
_CHECKS: dict[str, tuple[str, Check]] = {
    "type": ("", lambda a, v, p, s: type_of(v) in named_types(a)),
    "enum": ("", lambda a, v, p, s: key(v) in map(key, a)),
    "const": ("", lambda a, v, p, s: key(v) == key(a)),
    "anyOf": ("", lambda a, v, p, s: _any([holds(option, v, s) for option in a])),
    "minimum": ("number", lambda a, v, p, s: v >= a),
    "maximum": ("number", lambda a, v, p, s: v <= a),
    "exclusiveMinimum": ("number", lambda a, v, p, s: v > a if _is_number(a) else None),
    "exclusiveMaximum": ("number", lambda a, v, p, s: v < a if _is_number(a) else None),
    "multipleOf": ("number", lambda a, v, p, s: _is_multiple(a, v)),
    "minLength": ("string", lambda a, v, p, s: len(v) >= a),
    "maxLength": ("string", lambda a, v, p, s: len(v) <= a),
    "minItems": ("array", lambda a, v, p, s: len(v) >= a),
    "maxItems": ("array", lambda a, v, p, s: len(v) <= a),
    "items": ("array", lambda a, v, p, s: _items(p, v, s)),
    "prefixItems": ("array", lambda a, v, p, s: _items(p, v, s)),
    "minProperties": ("object", lambda a, v, p, s: len(v) >= a),
    "maxProperties": ("object", lambda a, v, p, s: len(v) <= a),
    "required": ("object", lambda a, v, p, s: set(a) <= set(v)),
    "properties": ("object", lambda a, v, p, s: _members(p, v, s)),
    "additionalProperties": ("object", lambda a, v, p, s: _members(p, v, s)),
}
# Keywords whose effect is not worked out here, with the type of the values to which they apply.
_UNKNOWN = {"pattern": "string", "format": "string", "patternProperties": "object"}


def bounds(part: Schema, lowest: str, highest: str) -> tuple[int, float]:
    """How few and how many a schema allows of what these keywords count."""
    return integer(part.get(lowest), 0), integer(part.get(highest), 2**62)
