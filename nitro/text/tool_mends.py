"""Tools with all that templates look for, which the API lets clients leave out."""

from collections.abc import Mapping, Sequence
from typing import Any


def completed(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tools with empty descriptions, parameters and lists of required ones where they have none."""
    return [{**tool, "function": _function(tool["function"])} if "function" in tool else tool for tool in tools]


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {}
    return {**function, "description": function.get("description") or "", "parameters": _object(parameters)}


def _object(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    named = properties.items() if isinstance(properties, Mapping) else ()
    made = {"type": "object", **schema, "properties": {name: _property(inner) for name, inner in named}}
    return {"required": [], **made}


def _property(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = {"description": "", **schema}
    return _object({"additionalProperties": {}, **made}) if isinstance(schema.get("properties"), Mapping) else made
