"""Arguments that are written without JSON's quotes: by the tool's schema, which are texts, and what the others mean.

Chat templates write a text as it is, and any other value as JSON, or as Jinja spells it: True, False, None.
"""

import ast
import json
from collections.abc import Collection, Mapping
from typing import Any

from nitro.text.json_schemas import ANNOTATIONS, referred
from nitro.text.tools import ToolsByName

_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", type(None): "null"}
_ALL_TYPES = frozenset({*_NAMES.values(), "array"})
# The keywords that a raw text, one without quotes, can be held to. Under any other a text is JSON, with quotes.
_CHOICES, _RESTRICTIONS = {"enum", "const"}, {"minLength", "maxLength", "pattern"}
_TEXT_KEYWORDS = {"type"} | _CHOICES | _RESTRICTIONS
_WORDS = {"True": True, "False": False, "None": None}
_EMPTY = {"null": "null", "array": "[]", "object": "{}"}  # what no text at all means, where it can be no text
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
        found &= inner(referred(schema["$ref"], root))
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
        if schema.get("nullable") is True:  # of OpenAPI 3.0
            found |= {"null"}
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


def argument_to_json(tools: ToolsByName, name: str, key: str, text: str) -> str | None:
    """The JSON that a text means as the argument `key` of the tool `name`; None: it says nothing."""
    tool = tools.get(name)
    root = tool.parameters if tool else {}
    return text_to_json(text, member_schema(root, key, root), root, tool is not None and tool.enforced)


def is_raw_text_argument(tools: ToolsByName, name: str, key: str) -> bool:
    """Whether the argument `key` of the tool `name` is a text without quotes."""
    root = tools[name].parameters if name in tools else {}
    return is_raw_text(member_schema(root, key, root), root)


def member_schema(schema: Any, key: str, root: Mapping[str, Any]) -> Any:
    """The schema of the member `key`, or of an item; None: it has none of its own."""
    if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
        schema = referred(schema["$ref"], root)
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        return {} if properties[key] is True else properties[key]
    return schema.get("items") if "items" in schema else schema.get("additionalProperties")


def text_to_json(text: str, schema: Any, root: Mapping[str, Any], enforced: bool = False) -> str | None:
    """The JSON that a text means as a value of this schema; None: it says nothing, as an empty number does.

    Where the schema allows a text, it is one, as it stands, unless it is JSON of another type that is allowed. Where
    it allows none, Python's literals are read, too. `enforced`: a grammar has had what is no raw text written in JSON.
    """
    allowed = allowed_types(schema, root)
    if enforced and isinstance(schema, Mapping) and not is_raw_text(schema, root):
        written = _json_of(text, allowed)
        if written:
            return written
    if "string" in allowed:
        choices = _choices(schema)
        if choices is not None and text in choices:
            return to_json(text)
        return _json_of(text, allowed - {"string"}) or to_json(text)
    if not text.strip():
        return next((empty for name, empty in _EMPTY.items() if name in allowed), None)
    return _json_of(text, allowed) or _literal(text, allowed) or to_json(text)


def _choices(schema: Any) -> list[Any] | None:
    """The values to choose from; None: any."""
    if not isinstance(schema, Mapping):
        return None
    return (
        [schema["const"]] if "const" in schema else schema.get("enum") if isinstance(schema.get("enum"), list) else None
    )


def _json_of(text: str, allowed: Collection[str]) -> str | None:
    """The JSON that a text is, or that Jinja's word for it means, if that is of an allowed type."""
    text = text.strip()
    if text in _WORDS:
        text = to_json(_WORDS[text])
    try:
        value = json.loads(text)
        to_json(value)
    except (ValueError, RecursionError):
        return None
    return text if _is_of(value, allowed) else None


def _literal(text: str, allowed: Collection[str]) -> str | None:
    """The JSON of one of Python's literals, if that is of an allowed type."""
    try:
        value = ast.literal_eval(text.strip())
        return to_json(value) if _is_of(value, allowed) else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _is_of(value: Any, allowed: Collection[str]) -> bool:
    return type_of(value) in allowed or (isinstance(value, float) and value.is_integer() and "integer" in allowed)


def to_json(value: Any) -> str:
    """JSON without lone surrogates. Raises ValueError or TypeError for what JSON cannot hold."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace").decode()
