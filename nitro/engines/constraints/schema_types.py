"""What the rules of schema_rules.py ask about schemas, one at a time: types, parts, and what a reference leads to."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Schema = dict[str, Any]
NEVER: Schema = {"enum": []}  # nothing keeps it
# Of a number it matters whether it is whole: "number" is both.
ALL_TYPES = frozenset(("null", "boolean", "integer", "fraction", "string", "array", "object"))
_NAMED = {name: frozenset((name,)) for name in ALL_TYPES - {"fraction"}}
_NAMED["number"] = frozenset(("integer", "fraction"))
MAX_STEPS = 100_000  # of reasoning about one schema
# Keywords that say nothing about a value.
ANNOTATIONS = frozenset(("$schema", "$id", "id", "$anchor", "$comment", "$defs", "definitions", "$vocabulary"))
ANNOTATIONS |= {"title", "description", "default", "examples", "example", "readOnly", "writeOnly", "deprecated"}
ANNOTATIONS |= {"contentMediaType", "contentEncoding", "contentSchema", "x-guidance"}


# Beside the keywords of what a rule wrote: fewer values keep it than should. It must not be taken for the whole.
NARROWER = "x-narrower"


class TooHardError(Exception):
    """More steps than MAX_STEPS."""


class UnenforceableError(Exception):
    """No grammar that the rules can write has the keyword."""


class NarrowerError(Exception):
    """A schema has fewer values than it should, so that nothing follows from what it has not."""


class Instead(dict[str, Any]):
    """What a rule gives that means all of the schema at which the keyword stands, not the keyword alone."""


class Scope:
    """The document in which schemas stand, and how much may still be thought about it."""

    def __init__(self, target: Callable[[str], Schema | None]):
        self._target = target
        self._steps = 0

    def step(self) -> None:
        """Count a step. Raises TooHardError."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooHardError

    def parts(self, schema: Schema) -> Iterator[Schema]:
        """The schema and what it has to keep beside its own keywords: of `allOf`, and where `$ref` leads.

        Raises NarrowerError, or TooHardError.
        """
        found, seen = [schema], set()
        for part in found:  # grows as it goes
            self.step()
            if NARROWER in part:
                raise NarrowerError
            yield part
            found += map(as_schema, part.get("allOf", []))
            reference = part.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                target = self._target(reference)
                found += [target] if target is not None else []

    def is_known(self, schema: Schema) -> bool:
        """Whether `parts` gives all parts: each reference of them leads somewhere."""
        return all(self._target(part["$ref"]) is not None for part in self.parts(schema) if "$ref" in part)

    def types(self, schema: Schema) -> frozenset[str]:
        """The types that a value of the schema may have, and perhaps some more."""
        types = ALL_TYPES
        for part in self.parts(schema):
            types &= self._own_types(part)
        return types

    def _own_types(self, part: Schema) -> frozenset[str]:
        types = named_types(part["type"]) if "type" in part else ALL_TYPES
        for keyword in ("enum", "const"):
            if keyword in part:
                values = part["enum"] if keyword == "enum" else [part["const"]]
                types &= frozenset(map(type_of, values))
        if options := part.get("anyOf"):
            types &= frozenset().union(*map(self.types, map(as_schema, options)))
        return types


def as_schema(schema: Any) -> Schema:
    """True and False as schemas that are objects."""
    return schema if isinstance(schema, dict) else NEVER if schema is False else {}


def named_types(value: Any) -> frozenset[str]:
    """What a `type` names. All for what is none: it is refused later."""
    names: Iterable[Any] = value if isinstance(value, list) else [value]
    return frozenset().union(*(_NAMED.get(name, ALL_TYPES) if isinstance(name, str) else ALL_TYPES for name in names))


def type_names(types: frozenset[str]) -> list[str] | None:
    """A `type` that means exactly these; None: none does, since a fraction has no type of its own."""
    if "fraction" in types and "integer" not in types:
        return None
    named = types - {"fraction", "integer"} if "fraction" in types else types
    return sorted(named | ({"number"} if "fraction" in types else set()))


def type_of(value: Any) -> str:
    """Of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == value // 1 else "fraction"
    kinds = {"string": str, "array": list, "object": dict}
    return next((kind for kind, of_python in kinds.items() if isinstance(value, of_python)), "null")


def assertions(schema: Schema) -> dict[str, Any]:
    """The keywords that say something about a value."""
    return {keyword: value for keyword, value in schema.items() if keyword not in ANNOTATIONS}


def is_anything(schema: Any) -> bool:
    """Whether each value keeps it, as far as that can be seen at once."""
    return schema is True or (isinstance(schema, dict) and not assertions(schema))


def is_never(schema: Any) -> bool:
    """Whether no value keeps it, as far as that can be seen at once."""
    return schema is False or (isinstance(schema, dict) and schema.get("enum") == [])


def all_of(*schemas: Any) -> Schema:
    """What keeps each of them."""
    parts = [as_schema(schema) for schema in schemas if not is_anything(schema)]
    if any(map(is_never, parts)):
        return NEVER
    return parts[0] if len(parts) == 1 else {"allOf": parts} if parts else {}


def any_of(schemas: Iterable[Any]) -> Schema:
    """What keeps one of them at least."""
    parts = [as_schema(schema) for schema in schemas if not is_never(schema)]
    if any(map(is_anything, parts)):
        return {}
    return parts[0] if len(parts) == 1 else {"anyOf": parts} if parts else NEVER


def integer(value: Any, default: int) -> int:
    """A count of a schema, such as `minItems`."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default
