"""Values of arguments that are written as they are, without JSON's quotes: which are texts, by the tool's schema."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from nitro.text.tools import Tools

_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", type(None): "null"}
_ALL = frozenset({*_NAMES.values(), "array"})
# What a text can keep that is written as it is. A value under any other keyword is JSON, and a text in quotes.
_CHOICES, _RESTRICTIONS = {"enum", "const"}, {"minLength", "maxLength", "pattern"}
_OF_TEXTS = {"type"} | _CHOICES | _RESTRICTIONS
SILENT = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
_DEEPEST = 32


def types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a schema, which is part of `root`, allows."""
    return _types(schema, root, {}, 0)


def _types(schema: Any, root: Mapping[str, Any], known: dict[int, frozenset[str]], depth: int) -> frozenset[str]:
    """`known`: by the parts that were seen, each of which is looked at once. One that refers to itself says nothing."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return _ALL
    if id(schema) in known:
        return known[id(schema)]
    known[id(schema)] = found = _ALL

    def inner(part: Any) -> frozenset[str]:
        return _types(part, root, known, depth + 1)

    if isinstance(reference := schema.get("$ref"), str):
        found &= inner(_referred(reference, root))
    if isinstance(named := schema.get("type"), str):
        named = [named]
    if isinstance(named, list):
        found &= {*(name for name in named if isinstance(name, str)), *(["integer"] if "number" in named else [])}
    if isinstance(schema.get("enum"), list):
        found &= {type_of(value) for value in schema["enum"]}
    if "const" in schema:
        found &= {type_of(schema["const"])}
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found &= frozenset[str]().union(*map(inner, schema[key]))
    for part in _listed(schema.get("allOf")):
        found &= inner(part)
    known[id(schema)] = found
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def type_of(value: Any) -> str:
    return _NAMES.get(type(value), "array")


def is_text(schema: Any, root: Mapping[str, Any]) -> bool:
    """Whether a value is a text that is written as it is. What is both chosen and restricted is not."""
    if not isinstance(schema, Mapping) or not set(schema) <= _OF_TEXTS | SILENT:
        return False
    chosen, restricted = _CHOICES & set(schema), _RESTRICTIONS & set(schema)
    if len(chosen) > 1 or (chosen and restricted):
        return False
    if not all(isinstance(value, str) for value in _listed(schema.get("enum"))):
        return False
    return types(schema, root) == {"string"}


def argument(tools: Tools, name: str, key: str, text: str) -> str:
    """The JSON that the text means as an argument of a tool."""
    root = tools[name].parameters if name in tools else {}
    return meant(text, part(root, key, root), root)


def is_text_argument(tools: Tools, name: str, key: str) -> bool:
    """Whether that is a text as it is, whatever stands there."""
    root = tools[name].parameters if name in tools else {}
    return is_text(part(root, key, root), root)


def part(schema: Any, key: str, root: Mapping[str, Any]) -> Any:
    """The schema of a member, or of an item; None: it has none of its own."""
    if isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
        schema = _referred(reference, root)
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        return properties[key]
    return schema.get("items") if "items" in schema else schema.get("additionalProperties")


def meant(text: str, schema: Any, root: Mapping[str, Any]) -> str:
    """In JSON: a text where the schema has it so, else JSON or what Python prints, where that is of a type that the
    schema allows. Anything else is a text."""
    if is_text(schema, root):
        return written(text)
    allowed = types(schema, root)
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text.strip())
            made = written(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if type_of(value) in allowed or (isinstance(value, float) and value.is_integer() and "integer" in allowed):
            return text.strip() if read is json.loads else made
    return written(text)


def written(value: Any) -> str:
    """As JSON. Raises ValueError or TypeError where that cannot say it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode()


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """The schema that "#/…" points to; None: there is none."""
    found: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
