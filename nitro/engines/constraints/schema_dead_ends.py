"""Schemas that refer to themselves with no way out: no value that ends keeps them, and a model would go on for ever."""

from typing import Any

from nitro.engines.constraints import schema_walk
from nitro.engines.constraints.schema_types import NEVER, Schema, is_never
from nitro.engines.constraints.schema_values import tuple_of

MAX_REFERENCES = 500  # that are looked at; with more of them nothing is closed


def closed(root: Schema) -> Schema:
    """The schema without the ways into dead ends. Raises ValueError, with the place, where it is one as a whole."""
    places = [(pointer, part) for pointer, part in schema_walk.every(root) if isinstance(part.get("$ref"), str)]
    targets = {part["$ref"]: schema_walk.target(root, part["$ref"]) for _, part in places}
    alive = {reference for reference, target in targets.items() if target is None}  # of these nothing is known
    if len(targets) > MAX_REFERENCES:
        return root
    while found := {reference for reference in targets.keys() - alive if _lives(targets[reference], alive)}:
        alive |= found
    dead = [(pointer, part) for pointer, part in places if part["$ref"] not in alive]
    if not _lives(root, alive) and any(not is_never(targets[part["$ref"]]) for _, part in dead):
        raise ValueError(f"$ref leads back to itself with no way out (at {dead[0][0] or '/'})")
    for _, part in dead:
        part.pop("$ref", None)
        part.update(NEVER)
    return root


def _lives(schema: Any, alive: set[str]) -> bool:
    """Whether a value may keep the schema, if these references lead to something."""
    if not isinstance(schema, dict):
        return schema is not False
    if is_never(schema) or ("$ref" in schema and schema["$ref"] not in alive):
        return False
    if not all(_lives(part, alive) for part in _list(schema.get("allOf"))):
        return False
    if any(not any(_lives(option, alive) for option in options) for options in _choices(schema)):
        return False
    parts = [schema, *(part for part in _list(schema.get("allOf")) if isinstance(part, dict))]
    if any(part.get("type") in ("object", ["object"]) for part in parts):
        needed = [name for part in parts for name in _list(part.get("required")) if isinstance(name, str)]
        return all(_lives(_member(part, name), alive) for name in needed for part in parts)
    if schema.get("type") in ("array", ["array"]) and isinstance(shortest := schema.get("minItems"), int):
        prefix, rest = tuple_of(schema)
        return all(_lives(item, alive) for item in [*prefix[:shortest], *[rest] * (shortest > len(prefix))])
    return True


def _member(schema: Schema, name: str) -> Any:
    """The schema of a member of this name, as far as one is known."""
    members = schema.get("properties")
    if isinstance(members, dict) and name in members:
        return members[name]
    return True if "patternProperties" in schema else schema.get("additionalProperties", True)


def _choices(schema: Schema) -> list[list[Any]]:
    return [schema[keyword] for keyword in ("anyOf", "oneOf") if _list(schema.get(keyword))]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
