"""The opposite of a schema, which just those values keep that do not keep the schema. Not every schema has one that can
be written.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from nitro.engines.constraints.schema_types import (
    ALL_TYPES,
    NARROWER,
    NEVER,
    Schema,
    Scope,
    all_of,
    any_of,
    as_schema,
    assertions,
    is_anything,
    named_types,
    type_names,
    type_of,
)
from nitro.engines.constraints.schema_values import distinct, tuple_of

MAX_DEPTH = 12
MAX_EXCLUDED_CHARS = 20_000  # of the texts that a string may not be
_ANY_REST = r"[\s\S]*"


class NoOppositeError(Exception):
    """No schema that can be written is the opposite."""


def opposite(schema: Any, scope: Scope, types: frozenset[str] = ALL_TYPES, depth: int = 0) -> Schema:
    """The opposite of a schema, among values of these types. Raises NoOppositeError, or TooHardError."""
    scope.step()
    schema = as_schema(schema)
    if depth > MAX_DEPTH:
        raise NoOppositeError
    if is_anything(schema):
        return NEVER
    if "$ref" in schema and not scope.is_known(schema):
        raise NoOppositeError
    found = []
    for part in scope.parts(schema):
        for keyword, argument in assertions(part).items():
            if keyword in ("$ref", "allOf"):  # their parts come by themselves
                continue
            if keyword in _OPPOSITES:
                found.append(_OPPOSITES[keyword](argument, part, _Place(scope, types, depth + 1)))
            elif keyword in _WITHOUT_OPPOSITE and _WITHOUT_OPPOSITE[keyword] & types:
                raise NoOppositeError
    return any_of(found)


class _Place:
    """Where an opposite is looked for."""

    def __init__(self, scope: Scope, types: frozenset[str], depth: int):
        self.scope, self.types, self.depth = scope, types, depth

    def inside(self, schema: Any) -> Schema:
        """The opposite of a schema of a part of the value."""
        return opposite(schema, self.scope, depth=self.depth)

    def beside(self, schema: Any) -> Schema:
        """The opposite of a schema of the same value."""
        return opposite(schema, self.scope, self.types, self.depth)


def _of_types(types: frozenset[str]) -> Schema:
    if not types:
        return NEVER
    names = type_names(types)
    if names is None:  # numbers, but no integers: their other types are left
        names = type_names(types - {"fraction"})
        return {"type": names, NARROWER: True} if names else _no_opposite()
    return {"type": names}


def _no_opposite() -> Schema:
    raise NoOppositeError


def _not_type(argument: Any, part: Schema, place: _Place) -> Schema:
    return _of_types(place.types - named_types(argument))


def _not_values(excluded: list[Any], part: Schema, place: _Place) -> Schema:
    excluded = distinct(excluded)
    by_type: dict[str, list[Any]] = {}
    for value in excluded:
        kind = type_of(value)
        by_type.setdefault("number" if kind in ("integer", "fraction") else kind, []).append(value)
    excluded_types = frozenset().union(*map(named_types, by_type))
    found = [_of_types(place.types - excluded_types)]
    for kind, values in by_type.items():
        if named_types(kind) & place.types:
            found.append(_OTHER_VALUES[kind](values, place))
    return any_of(found)


def _other_numbers(values: list[Any], place: _Place) -> Schema:
    """Between the values, below them and above them."""
    names = type_names(place.types & named_types("number"))
    if names is None:
        raise NoOppositeError
    edges = [None, *sorted(values), None]
    ranges: list[Schema] = []
    for low, high in pairwise(edges):
        if names == ["integer"] and low is not None and high is not None and high - low <= 1:
            continue
        bounds = {"exclusiveMinimum": low, "exclusiveMaximum": high}
        ranges.append({"type": names, **{name: bound for name, bound in bounds.items() if bound is not None}})
    return any_of(ranges)


def other_texts(texts: list[str]) -> str:
    """A regular expression for each text that is none of these. Raises NoOppositeError where it would be long."""
    if sum(map(len, texts)) > MAX_EXCLUDED_CHARS:
        raise NoOppositeError
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for character in text:
            node = node.setdefault(character, {})
        node[""] = {}
    return f"^{_beside(tree)}$"


def _beside(tree: dict[str, Any]) -> str:
    """What is not in a tree of texts, each of which ends with an empty key."""
    characters = [character for character in tree if character]
    options = [] if "" in tree else [""]
    excluded = "".join(f"\\u{{{ord(character):X}}}" for character in characters)
    options.append(f"[^{excluded}]{_ANY_REST}" if characters else rf"[\s\S]{_ANY_REST}")
    for character in characters:
        followed = _beside(tree[character])
        options.append(f"{_literal(character)}{followed}")
    return f"(?:{'|'.join(options)})"


def _literal(character: str) -> str:
    return re.escape(character) if character.isascii() else f"\\u{{{ord(character):X}}}"


def _other_texts(values: list[Any], place: _Place) -> Schema:
    return {"type": "string", "pattern": other_texts(values)}


def _other_lists(values: list[Any], place: _Place) -> Schema:
    """Longer, shorter, or with another item."""

    def other(value: list[Any]) -> Schema:
        size = len(value)
        options: list[Schema] = [{"type": "array", "minItems": size + 1}]
        options += [{"type": "array", "maxItems": size - 1}] if size else []
        for i, item in enumerate(value):
            different = _not_values([item], {}, _Place(place.scope, ALL_TYPES, place.depth))
            options.append({"type": "array", "minItems": i + 1, "items": [*[{}] * i, different]})
        return any_of(options)

    return all_of(*map(other, values))


def _other_objects(values: list[Any], place: _Place) -> Schema:
    """With a member more or less, or another one."""

    def other(value: dict[str, Any]) -> Schema:
        options: list[Schema] = [{"type": "object", "minProperties": len(value) + 1}]
        for name, inner in value.items():
            different = _not_values([inner], {}, _Place(place.scope, ALL_TYPES, place.depth))
            options += [_without(name), _with(name, different)]
        return any_of(options)

    return all_of(*map(other, values))


_OTHER_VALUES: dict[str, Callable[[list[Any], _Place], Schema]] = {
    "null": lambda values, place: NEVER,
    "boolean": lambda values, place: {"enum": [value for value in (True, False) if value not in values]},
    "number": _other_numbers,
    "string": _other_texts,
    "array": _other_lists,
    "object": _other_objects,
}


def _without(name: str) -> Schema:
    return {"type": "object", "properties": {name: False}}


def _with(name: str, schema: Schema) -> Schema:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def _not_required(argument: Any, part: Schema, place: _Place) -> Schema:
    return any_of(map(_without, argument)) if "object" in place.types else NEVER


def _not_properties(argument: Any, part: Schema, place: _Place) -> Schema:
    if "object" not in place.types:
        return NEVER
    return any_of(_with(name, place.inside(schema)) for name, schema in argument.items() if not is_anything(schema))


def _not_items(argument: Any, part: Schema, place: _Place) -> Schema:
    """An item of a place that is known differs; of the others it cannot be said."""
    prefix, rest = tuple_of(part)
    if "array" not in place.types:
        return NEVER
    if not is_anything(rest):
        if rest is not False:
            raise NoOppositeError
        longer: Iterator[Schema] = iter([{"type": "array", "minItems": len(prefix) + 1}])
    else:
        longer = iter([])
    others = [
        {"type": "array", "minItems": i + 1, "items": [*[{}] * i, place.inside(schema)]}
        for i, schema in enumerate(prefix)
        if not is_anything(schema)
    ]
    return any_of([*longer, *others])


def _not_count(kind: str, other: str, step: int) -> Callable[[Any, Schema, _Place], Schema]:
    def opposite_of(argument: Any, part: Schema, place: _Place) -> Schema:
        if not named_types(kind) & place.types or argument + step < 0:
            return NEVER
        return {"type": kind, other: int(argument) + step}

    return opposite_of


def _not_bound(other: str) -> Callable[[Any, Schema, _Place], Schema]:
    def opposite_of(argument: Any, part: Schema, place: _Place) -> Schema:
        numbers = place.types & named_types("number")
        names = type_names(numbers)
        if isinstance(argument, bool) or names is None:
            raise NoOppositeError
        return {"type": names, other: argument} if names else NEVER

    return opposite_of


Opposite = Callable[[Any, Schema, _Place], Schema]
_OPPOSITES: dict[str, Opposite] = {
    "type": _not_type,
    "const": lambda argument, part, place: _not_values([argument], part, place),
    "enum": _not_values,
    "anyOf": lambda argument, part, place: all_of(*map(place.beside, argument)),
    "required": _not_required,
    "properties": _not_properties,
    "prefixItems": _not_items,
    "items": _not_items,
    "minimum": _not_bound("exclusiveMaximum"),
    "maximum": _not_bound("exclusiveMinimum"),
    "exclusiveMinimum": _not_bound("maximum"),
    "exclusiveMaximum": _not_bound("minimum"),
    "minLength": _not_count("string", "maxLength", -1),
    "maxLength": _not_count("string", "minLength", 1),
    "minItems": _not_count("array", "maxItems", -1),
    "maxItems": _not_count("array", "minItems", 1),
    "minProperties": _not_count("object", "maxProperties", -1),
    "maxProperties": _not_count("object", "minProperties", 1),
}
# Keywords without one, by the types of the values to which they apply.
_WITHOUT_OPPOSITE = {
    "pattern": named_types("string"),
    "format": named_types("string"),
    "multipleOf": named_types("number"),
    "patternProperties": named_types("object"),
    "additionalProperties": named_types("object"),
    "oneOf": ALL_TYPES,
    "not": ALL_TYPES,
    "if": ALL_TYPES,
    "uniqueItems": named_types("array"),
    "contains": named_types("array"),
    "propertyNames": named_types("object"),
    "dependentRequired": named_types("object"),
    "dependentSchemas": named_types("object"),
    "dependencies": named_types("object"),
    "unevaluatedProperties": named_types("object"),
    "unevaluatedItems": named_types("array"),
    "$dynamicRef": ALL_TYPES,
    "$recursiveRef": ALL_TYPES,
}
