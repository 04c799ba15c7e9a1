"""Whether two schemas have no value in common, as far as that can be seen: by type, by choice, by a discriminator."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from nitro.engines.constraints.schema_types import Schema, Scope, as_schema, is_never, named_types
from nitro.engines.constraints.schema_values import bounds, holds, key, tuple_of, values

MAX_DEPTH = 8
MANY = 8  # schemas, for which it is worth to look for a member that tells them apart
MAX_NAMES = 4  # of members that are tried
_COUNTED = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


def overlapping(schemas: list[Any], scope: Scope) -> Iterator[tuple[int, int]]:
    """The pairs of them, as ascending numbers, that may have a value in common. Raises TooHardError.

    Many that differ in a choice, or in that of a required member, are told apart at once, not pair by pair.
    """
    choices = _choices([as_schema(schema) for schema in schemas], scope)
    having: dict[str, list[int]] = {}
    for i, choice in enumerate(choices):
        for value in choice or ():
            having.setdefault(value, []).append(i)
    without = [i for i, choice in enumerate(choices) if choice is None]
    pairs = {pair for alike in having.values() for pair in combinations(alike, 2)}
    pairs |= {(min(i, j), max(i, j)) for i in without for j in range(len(schemas)) if i != j}
    return (pair for pair in sorted(pairs) if not are_disjoint(schemas[pair[0]], schemas[pair[1]], scope))


def _choices(schemas: list[Schema], scope: Scope) -> list[set[str] | None]:
    """The values of each, or of the member by which most of them can be told apart; None: not known."""
    found = [_keys(values(schema, scope)) for schema in schemas]
    if len(schemas) < MANY or None not in found:
        return found
    objects = [list(scope.parts(schema)) if scope.types(schema) == {"object"} else [] for schema in schemas]
    some = list(filter(None, objects))[:2]
    names = {name: None for parts in some for part in parts for name in part.get("required", [])}
    by_member = [[_member_choice(parts, name, scope) for parts in objects] for name in list(names)[:MAX_NAMES]]
    return min([found, *by_member], key=lambda choices: choices.count(None))


def _member_choice(parts: list[Schema], name: str, scope: Scope) -> set[str] | None:
    """The values of a member that an object must have."""
    if not any(name in part.get("required", []) for part in parts):
        return None
    return _keys(values({"allOf": [as_schema(schema) for schema in _of_member(parts, name)]}, scope))


def _keys(choice: list[Any] | None) -> set[str] | None:
    return None if choice is None else set(map(key, choice))


def are_disjoint(first: Any, second: Any, scope: Scope, depth: int = 0) -> bool:
    """Whether no value keeps both. False where it is not known. Raises TooHardError."""
    scope.step()
    first, second = as_schema(first), as_schema(second)
    if is_never(first) or is_never(second):
        return True
    common = scope.types(first) & scope.types(second)
    if not common:
        return True
    if depth > MAX_DEPTH:
        return False
    for one, other in ((first, second), (second, first)):
        choice = values(one, scope)
        if choice is not None and all(holds(other, value, scope) is False for value in choice):
            return True
        for part in scope.parts(one):
            if (options := part.get("anyOf")) and all(are_disjoint(o, other, scope, depth + 1) for o in options):
                return True
    parts = (list(scope.parts(first)), list(scope.parts(second)))
    return all(_disjoint_among(kind, *parts, scope=scope, depth=depth) for kind in common)


def _disjoint_among(kind: str, first: list[Schema], second: list[Schema], scope: Scope, depth: int) -> bool:
    """Among the values of a type."""
    if kind in _COUNTED and not _ranges_meet(first + second, *_COUNTED[kind]):
        return True
    if kind == "object":
        return _has_discriminator(first, second, scope, depth)
    if kind == "array":
        return _differ_in_an_item(first, second, scope, depth)
    return kind in named_types("number") and not _numbers_meet(first + second)


def _ranges_meet(parts: list[Schema], lowest: str, highest: str) -> bool:
    counts = [bounds(part, lowest, highest) for part in parts]
    return max(low for low, _ in counts) <= min(high for _, high in counts)


def _numbers_meet(parts: list[Schema]) -> bool:
    def found(keyword: str) -> list[float]:
        return [
            p[keyword] for p in parts if isinstance(p.get(keyword), int | float) and not isinstance(p[keyword], bool)
        ]

    low = max([*found("minimum"), *found("exclusiveMinimum"), float("-inf")])
    high = min([*found("maximum"), *found("exclusiveMaximum"), float("inf")])
    is_open = low in found("exclusiveMinimum") or high in found("exclusiveMaximum")
    return low < high or (low == high and not is_open)


def _has_discriminator(first: list[Schema], second: list[Schema], scope: Scope, depth: int) -> bool:
    """Whether one of them requires a member that cannot be as both want it."""
    needed = {name for part in first + second for name in part.get("required", []) if isinstance(name, str)}
    for name in sorted(needed):
        ours, theirs = _of_member(first, name), _of_member(second, name)
        if any(map(is_never, ours + theirs)):
            return True
        if any(are_disjoint(one, other, scope, depth + 1) for one in ours for other in theirs):
            return True
    return False


def _of_member(parts: list[Schema], name: str) -> list[Any]:
    """The schemas that a member of this name has to keep."""
    found = []
    for part in parts:
        properties = part.get("properties", {})
        if name in properties:
            found.append(properties[name])
        elif "patternProperties" not in part and "additionalProperties" in part:
            found.append(part["additionalProperties"])
    return found


def _differ_in_an_item(first: list[Schema], second: list[Schema], scope: Scope, depth: int) -> bool:
    shortest = max(bounds(part, "minItems", "maxItems")[0] for part in first + second)
    for i in range(min(shortest, 16)):
        ours, theirs = ([_of_item(part, i) for part in parts] for parts in (first, second))
        if any(are_disjoint(one, other, scope, depth + 1) for one in ours for other in theirs):
            return True
    return False


def _of_item(part: Schema, place: int) -> Any:
    prefix, rest = tuple_of(part)
    return prefix[place] if place < len(prefix) else rest
