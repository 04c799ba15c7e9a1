"""JSON schemas as llguidance takes them: their parts, and their numbers, of which it knows doubles only.

Knows neither llguidance nor what a schema is for.
"""

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, TypeGuard
from urllib.parse import unquote

from nitro.engines.constraints.json_values import escaped

JsonSchema = dict[str, Any]
OBJECTS_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
LISTS_OF_SCHEMAS = ("anyOf", "allOf", "oneOf", "prefixItems", "items")
SINGLE_SCHEMAS = (
    *("items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
WITH_SCHEMAS = frozenset((*OBJECTS_OF_SCHEMAS, *LISTS_OF_SCHEMAS, *SINGLE_SCHEMAS))
# Towards which infinity a bound may be moved, so that what keeps it keeps the schema's own, too.
BOUND_DIRECTIONS = {"minimum": 1, "exclusiveMinimum": 1, "maximum": -1, "exclusiveMaximum": -1}
VALUE_KEYWORDS = ("const", "enum")
MAX_BOUND = 2**63 - 1024  # the largest double of 64 bits: llguidance cuts bounds there, or fails


def load(source: str) -> JsonSchema:
    """The schema, with bounds that can be held. Raises ValueError for other numbers, with their place."""
    schema: JsonSchema = json.loads(source)
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    for pointer, part in every(schema):
        for keyword, direction in BOUND_DIRECTIONS.items():
            bound = part.get(keyword)
            if _is_number(bound):
                if bound * direction > MAX_BOUND:
                    raise ValueError(f"{keyword} is beyond 64 bits (at {pointer or '/'})")
                part[keyword] = _inward(bound, direction)
        for keyword in VALUE_KEYWORDS:
            if any(not _is_exact(number) for number in _numbers(part.get(keyword))):
                raise ValueError(f"{keyword} has a number with more digits than a double holds (at {pointer or '/'})")
    return schema


def every(schema: JsonSchema) -> Iterator[tuple[str, JsonSchema]]:
    """The schema and all in it, each with its JSON pointer; what is in a schema comes after it."""
    found = [("", schema)]
    for pointer, part in found:  # grows as it goes
        yield pointer, part
        found += [(pointer + step, inner) for step, inner in subschemas(part)]


def target(schema: JsonSchema, reference: Any) -> Any:
    """What a reference within the schema leads to, which may be no schema; None: nothing, or it is not of that kind."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found: Any = schema
    for step in unquote(reference).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def nearest(schema: JsonSchema, pointer: str) -> tuple[str, JsonSchema]:
    """The pointer, or the longest beginning of it that leads to a schema in the schema, and that schema."""
    parts = dict(every(schema))
    while pointer not in parts:
        pointer = pointer.rpartition("/")[0]
    return pointer, parts[pointer]


def subschemas(schema: Any) -> Iterator[tuple[str, JsonSchema]]:
    """The schemas directly in a schema, each with its step of a JSON pointer."""
    steps = [(f"/{key}", schema.get(key)) for key in SINGLE_SCHEMAS]
    steps += [(f"/{key}/{escaped(name)}", part) for key in OBJECTS_OF_SCHEMAS for name, part in _items(schema.get(key))]
    steps += [(f"/{key}/{i}", part) for key in LISTS_OF_SCHEMAS for i, part in _entries(schema.get(key))]
    return ((step, part) for step, part in steps if isinstance(part, dict))


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _entries(value: Any) -> list[tuple[int, Any]]:
    return list(enumerate(value)) if isinstance(value, list) else []


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> Iterator[int | float]:
    """All in a JSON value."""
    found = [value]
    for part in found:  # grows as it goes
        if _is_number(part):
            yield part
        found += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []


def _inward(bound: int | float, direction: int) -> int | float:
    """The nearest double in that direction, of 64 bits."""
    if abs(bound) > MAX_BOUND:
        return -direction * MAX_BOUND
    double = float(bound)
    if (double < bound) if direction > 0 else (double > bound):
        double = math.nextafter(double, direction * math.inf)
    return bound if double == bound else double


def _is_exact(number: int | float) -> bool:
    """Whether llguidance writes it as it is."""
    if isinstance(number, float):
        return True
    try:
        double = float(number)
    except OverflowError:
        return False
    return (double == number and abs(number) <= MAX_BOUND) or Decimal(repr(double)) == number
