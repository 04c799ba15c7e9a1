"""Which keywords of an object's schema say something of the object as a whole, beside its listed properties."""

from typing import Any

from nitro.text.json_schemas import JsonSchema

_COUNTS = ("minProperties", "maxProperties")
_OTHERS = ("patternProperties", "propertyNames", "unevaluatedProperties")
_DEPENDENT = ("dependentRequired", "dependentSchemas", "dependencies")
_COMBINED = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
KEYWORDS = frozenset((*_COUNTS, *_OTHERS, *_DEPENDENT, *_COMBINED, *_REFERENCES, "enum", "const"))


def with_effect(schema: JsonSchema) -> list[str]:
    """Those of the schema's keywords that an object with the right properties may break, sorted."""
    return sorted(keyword for keyword in KEYWORDS & schema.keys() if _says_something(keyword, schema[keyword], schema))


def _says_something(keyword: str, value: Any, schema: JsonSchema) -> bool:
    if keyword == "minProperties":
        needed = schema.get("required")
        least = len({name for name in needed if isinstance(name, str)}) if isinstance(needed, list) else 0
        return not isinstance(value, int) or value > least
    if keyword == "maxProperties":
        listed, closed = schema.get("properties"), schema.get("additionalProperties") is False
        return not (closed and isinstance(listed, dict) and isinstance(value, int) and value >= len(listed))
    if keyword == "unevaluatedProperties" and "additionalProperties" in schema:
        return False  # which evaluates all of them
    if keyword == "if":
        return "then" in schema or "else" in schema
    if keyword in ("then", "else"):
        return "if" in schema
    if keyword == "not":  # of which only this one refuses nothing
        return value is not False
    is_nothing = value is True or (isinstance(value, dict | list) and not value)
    return not is_nothing or keyword in ("anyOf", "oneOf", "enum", "const")
