"""Arguments that are written without JSON's quotes: by the tool's schema, which are texts, and what the others mean."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from nitro.text.json_schemas import ANNOTATIONS
from nitro.text.tools import ToolsByName

_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", type(None): "null"}
_ALL_TYPES = frozenset({*_NAMES.values(), "array"})
# The keywords that a raw text, one without quotes, can be held to. Under any other a text is JSON, with quotes.
_CHOICES, _RESTRICTIONS = {"enum", "const"}, {"minLength", "maxLength", "pattern"}
_TEXT_KEYWORDS = {"type"} | _CHOICES | _RESTRICTIONS
_MAX_DEPTH = 32


def allowed_types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a schema, which is a part of `root`, allows."""
    return _types(schema, root, {}, 0)


def _types(schema: Any, root: Mapping[str, Any], known: dict[int, frozenset[str]], depth: int) -> frozenset[str]:
    """`known`: by the id of each part that was seen, so that each is read once. A part that refers to itself allows
    all."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return _ALL_TYPES
    if id(schema) in known:
        return known[id(schema)]
    known[id(schema)] = _ALL_TYPES

    def inner(part: Any) -> frozenset[str]:
        return _types(part, root, known, depth + 1)

    found = _own_types(schema)
    if isinstance(schema.get("$ref"), str):
        found &= inner(_referred(schema["$ref"], root))
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found &= frozenset[str]().union(*map(inner, schema[key]))
    for part in _listed(schema.get("allOf")):
        found &= inner(part)
    known[id(schema)] = found
    return found


def _own_types(schema: Mapping[str, Any]) -> frozenset[str]:
    """What a schema allows by itself, whatever parts it refers to."""
    found = _ALL_TYPES
    named = schema.get("type")
    if isinstance(named, str):
        named = [named]
    if isinstance(named, list):
        found &= {*(name for name in named if isinstance(name, str)), *(["integer"] if "number" in named else [])}
    if isinstance(schema.get("enum"), list):
        found &= {type_of(value) for value in schema["enum"]}
    if "const" in schema:
        found &= {type_of(schema["const"])}
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def type_of(value: Any) -> str:
    """The JSON type of a value; a list's, or that of anything unknown, is "array"."""
    return _NAMES.get(type(value), "array")


def is_raw_text(schema: Any, root: Mapping[str, Any]) -> bool:
    """Whether a value is a text without quotes. One with both choices and restrictions is not."""
    if not isinstance(schema, Mapping) or not set(schema) <= _TEXT_KEYWORDS | ANNOTATIONS:
        return False
    chosen, restricted = _CHOICES & set(schema), _RESTRICTIONS & set(schema)
    if len(chosen) > 1 or (chosen and restricted):
        return False
    if not all(isinstance(value, str) for value in _listed(schema.get("enum"))):
        return False
    return allowed_types(schema, root) == {"string"}


def argument_to_json(tools: ToolsByName, name: str, key: str, text: str) -> str:
    """The JSON that a text means as the argument `key` of the tool `name`."""
    root = tools[name].parameters if name in tools else {}
    return text_to_json(text, member_schema(root, key, root), root)


def is_raw_text_argument(tools: ToolsByName, name: str, key: str) -> bool:
    """Whether the argument `key` of the tool `name` is a text without quotes."""
    root = tools[name].parameters if name in tools else {}
    return is_raw_text(member_schema(root, key, root), root)


def member_schema(schema: Any, key: str, root: Mapping[str, Any]) -> Any:
    """The schema of the member `key`, or of an item; None: it has none of its own."""
    if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
        schema = _referred(schema["$ref"], root)
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        return properties[key]
    return schema.get("items") if "items" in schema else schema.get("additionalProperties")


def text_to_json(text: str, schema: Any, root: Mapping[str, Any]) -> str:
    """The JSON that a text means as a value of this schema.

    A raw text stays a text. Any other is read as JSON, or as Python's literals, if that gives a type which the schema
    allows; else it is a text, too.
    """
    if is_raw_text(schema, root):
        return to_json(text)
    allowed = allowed_types(schema, root)
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text.strip())
            as_json = to_json(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        if type_of(value) in allowed or (isinstance(value, float) and value.is_integer() and "integer" in allowed):
            return text.strip() if read is json.loads else as_json
    return to_json(text)


def to_json(value: Any) -> str:
    """JSON without lone surrogates. Raises ValueError or TypeError for what JSON cannot hold."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode()


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """The schema that "#/…" points to; None: there is none."""
    found: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
