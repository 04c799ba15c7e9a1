"""Tools as chat templates can write them. Some take what the API leaves open for given: a description of every tool and
argument, a type that is one word.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Tools = Sequence[Mapping[str, Any]]
_UNIONS = ("anyOf", "oneOf", "allOf")


def for_templates(tools: Tools | None) -> Iterator[Tools]:
    """The tools in other shapes, for a template that does not take them as they are: the nearest shape first."""
    last: Any = tools
    for shaped in (_complete, _simple):
        made = [_with_function(tool, shaped) for tool in tools or ()]
        if made and made != last:
            yield made
        last = made


def _with_function(tool: Mapping[str, Any], shaped: Any) -> dict[str, Any]:
    function = tool["function"] if isinstance(tool.get("function"), Mapping) else tool
    parameters = {"type": "object", "properties": {}, "required": [], **(function.get("parameters") or {})}
    parameters["properties"] = {name: shaped(schema) for name, schema in _members(parameters)}
    made = {**function, "description": function.get("description") or "", "parameters": parameters}
    return {**tool, "function": made} if function is not tool else made


def _members(schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
    properties = schema.get("properties")
    return list(properties.items()) if isinstance(properties, Mapping) else []


def _complete(schema: Any) -> dict[str, Any]:
    """With a description, here and in every member; an object says what else it takes."""
    made = dict(schema) if isinstance(schema, Mapping) else {}
    made["description"] = made.get("description") or ""
    if made.get("type") == "object":
        made.setdefault("additionalProperties", {})
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: _complete(member) for name, member in _members(made)}
    if isinstance(made.get("items"), Mapping):
        made["items"] = _complete(made["items"])
    return made


def _simple(schema: Any) -> dict[str, Any]:
    """The same with one type, the first that is not null; without any, if it has no other."""
    made = _complete(schema)
    kind = next(_kinds(made), None)
    made = {key: value for key, value in made.items() if key != "type"} | ({"type": kind} if kind else {})
    if isinstance(made.get("properties"), Mapping):
        made["properties"] = {name: _simple(member) for name, member in _members(made)}
    if isinstance(made.get("items"), Mapping):
        made["items"] = _simple(made["items"])
    return made


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    """The types of the schema but for null, first its own."""
    own = schema.get("type")
    yield from (kind for kind in ([own] if isinstance(own, str) else own or ()) if kind != "null")
    for union in _UNIONS:
        for member in schema.get(union) or ():
            if isinstance(member, Mapping):
                yield from _kinds(member)
