"""JSON schemas as tools and answers have them, before any grammar is made: closed, without annotations, in parts.

Every function leaves what it is given as it is. What is no schema at all stays as it was: others refuse it.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

JsonSchema = Mapping[str, Any]

ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
MAX_DEPTH = 100  # of schemas in schemas; what is deeper stays as it is
ROOT = "(root)"  # the definition that stands for a whole schema in a part of it
_DEFINITIONS = ("$defs", "definitions")
_OBJECTS = {"properties", "patternProperties", *_DEFINITIONS, "dependentSchemas", "dependencies"}
_OTHERS = {"items", "additionalProperties", "additionalItems", "unevaluatedProperties", "unevaluatedItems", "contains"}
_OTHERS |= {"propertyNames", "not", "if", "then", "else", "anyOf", "allOf", "oneOf", "prefixItems"}
_WITH_SUBSCHEMAS = _OBJECTS | _OTHERS


def without_annotations(schema: Any, depth: int = 0) -> Any:
    """The schema without what only describes."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return schema
    kept = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    if is_plain(schema):
        return kept
    return with_subschemas(kept, lambda _, part: without_annotations(part, depth + 1))


def is_plain(schema: JsonSchema) -> bool:
    """Whether there is no schema in it, and it refers to none."""
    return "$ref" not in schema and _WITH_SUBSCHEMAS.isdisjoint(schema)


def with_subschemas(schema: JsonSchema, change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The schema with each subschema directly in it changed, by its keyword and itself."""
    changed = dict(schema)
    for keyword, value in schema.items():
        if isinstance(value, dict):
            if keyword in _OBJECTS:
                changed[keyword] = {name: change(keyword, part) for name, part in value.items()}
            elif keyword in _OTHERS:
                changed[keyword] = change(keyword, value)
        elif isinstance(value, list) and keyword in _OTHERS:
            changed[keyword] = [change(keyword, part) for part in value]
    return changed


def referred(reference: Any, root: JsonSchema) -> Any:
    """What "#/…" points to in `root`; None: nothing."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    found: Any = root
    for step in unquote(reference).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(key)] if key.isdecimal() and int(key) < len(found) else None
        else:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def part_of(part: Any, root: JsonSchema) -> dict[str, Any]:
    """A part of a schema as a schema of its own, with the definitions that it refers to.

    True and None allow all. What is no schema at all stays wrong.
    """
    schema = part if isinstance(part, dict) else {} if part is True or part is None else {"allOf": [part]}
    definitions: dict[str, dict[str, Any]] = {}
    whole: dict[str, Any] = {}

    def moved(inner: Any, depth: int) -> Any:
        """With its references, and the definitions that they need."""
        if not isinstance(inner, dict) or depth > MAX_DEPTH:
            return inner
        if is_plain(inner):
            return inner
        changed = with_subschemas(inner, lambda _, one: moved(one, depth + 1))
        reference = inner.get("$ref")
        if isinstance(reference, str) and referred(reference, root) is not None:
            changed["$ref"] = refer(reference, depth)
        return changed

    def refer(reference: str, depth: int) -> str:
        keyword, _, name = reference.removeprefix("#/").partition("/")
        if keyword in _DEFINITIONS and name:
            name = unquote(name.partition("/")[0]).replace("~1", "/").replace("~0", "~")
            kept = definitions.setdefault(keyword, {})
            if name not in kept and isinstance(root[keyword], Mapping) and name in root[keyword]:
                kept[name] = True
                kept[name] = moved(root[keyword][name], depth + 1)
            return reference
        if not whole:
            whole["schema"] = True
            definitions.setdefault("$defs", {})[ROOT] = {}
            inner = {key: value for key, value in root.items() if key not in _DEFINITIONS}
            definitions["$defs"][ROOT] = moved(inner, depth + 1)
        return f"#/$defs/{ROOT}{reference[1:]}"

    changed = moved(schema, 0)
    return {**definitions, **changed}
