"""JSON schemas and JSON data with other names and texts, and the same shape: what fits a schema fits it afterwards."""

import json
from typing import Any

from nitro.records.redaction.words import Words

ANY_TEXT = r"(.|\n)*"  # in place of a pattern
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # name → schema
LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
NAMES = ("required",)
DATA = ("const", "enum", "default", "examples", "example")
TEXTS = ("title", "description", "$comment")
KEPT = ("type", "format", "$schema", "contentEncoding", "contentMediaType")
REFERENCES = ("$ref", "$dynamicRef")
PATTERNS = ("pattern",)


def schema(node: Any, words: Words) -> Any:
    """A schema. A keyword that is not known may hold anything, and is data."""
    if isinstance(node, list):
        return [schema(each, words) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _keyword(key, value, words) for key, value in node.items()}


def _keyword(key: str, value: Any, words: Words) -> Any:
    if key in NAMED and isinstance(value, dict):
        rename = (lambda _: ANY_TEXT) if key == "patternProperties" else words.name
        return {rename(name): schema(each, words) for name, each in value.items()}
    if key in NAMES and isinstance(value, list):
        return [words.name(each) if isinstance(each, str) else each for each in value]
    if key == "dependentRequired" and isinstance(value, dict):
        return {words.name(name): _keyword("required", each, words) for name, each in value.items()}
    if key in REFERENCES and isinstance(value, str):
        return "/".join(
            part if part in ("#", *NAMED, "items", *LISTED) else words.name(part) for part in value.split("/")
        )
    if key in PATTERNS and isinstance(value, str):
        return ANY_TEXT
    if key in TEXTS and isinstance(value, str):
        return words.text(value)
    if key in KEPT:
        return value
    if key in DATA:
        return data(value, words)
    if isinstance(value, dict) or key in LISTED or key == "items":
        return schema(value, words)
    return data(value, words)


def data(value: Any, words: Words) -> Any:
    """Values of any kind: texts and the names of fields are replaced, numbers stay."""
    if isinstance(value, str):
        return words.text(value)
    if isinstance(value, list):
        return [data(each, words) for each in value]
    if isinstance(value, dict):
        return {words.name(key): data(each, words) for key, each in value.items()}
    return value


def arguments(text: str, words: Words) -> str:
    """The arguments of a call: JSON in a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return words.text(text)
    if not isinstance(value, dict | list):
        return words.text(text)
    separators = None if '": ' in text or '", ' in text else (",", ":")
    return json.dumps(data(value, words), ensure_ascii=False, separators=separators)
