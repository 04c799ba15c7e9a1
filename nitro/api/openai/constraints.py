"""Structured output: what an answer must match, by any of the parameters that ask for it.

`response_format` is OpenAI's; the others are llama-server's and vLLM's. The engine finds out whether it can enforce it.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api.openai.requests import CommonRequest
from nitro.engines.types import Constraint
from nitro.errors import ApiError
from nitro.text.closed_schemas import closed

Parsed = Constraint | None


def parse_constraint(request: CommonRequest) -> Parsed:
    """What the request says that the answer must match. None: anything.

    Raises ApiError 400 for a wrong form, two constraints, or one beside a parameter that contradicts it.
    """
    values = {name: getattr(request, name) for name in PARSERS}
    parsed = [PARSERS[name](value) for name, value in values.items() if value not in (None, "")]
    constraints = [constraint for constraint in parsed if constraint]
    if not constraints:
        return None
    first = constraints[0]
    if len(constraints) > 1:
        raise ApiError.invalid(constraints[1].param, f"nothing beside '{first.param}'")
    if request.ignore_eos:
        raise ApiError.invalid("ignore_eos", f"false beside '{first.param}', which says where the answer ends")
    if first.kind == "json_schema" and closes_objects(request):
        return replace(first, source=msgspec.json.encode(closed(msgspec.json.decode(first.source))).decode())
    return first


def closes_objects(request: CommonRequest) -> bool:
    """Whether objects have only the properties that their schemas list."""
    return request.disable_additional_properties is not False


def _parse_response_format(value: dict[str, Any]) -> Parsed:
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = value.get("schema") or {"type": "object"}
    elif kind == "json_schema":
        inner = value.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
    else:
        raise ApiError.invalid("response_format.type", "'text', 'json_object' or 'json_schema'")
    if not isinstance(schema, dict):
        raise ApiError.invalid("response_format.json_schema.schema", "a JSON schema, which is an object")
    return _of_schema(schema, "response_format")


def _parse_choice(value: list[str]) -> Parsed:
    if not value or not all(value):
        raise ApiError.invalid("choice", "one text or more, none of them empty")
    return Constraint("choice", msgspec.json.encode(value).decode(), "choice")


def _of_schema(schema: dict[str, Any], param: str) -> Constraint:
    return Constraint("json_schema", msgspec.json.encode(schema).decode(), param)


PARSERS: dict[str, Callable[[Any], Parsed]] = {
    "response_format": _parse_response_format,
    "json_schema": lambda value: _of_schema(value, "json_schema"),
    "grammar": lambda value: Constraint("grammar", value, "grammar"),
    "regex": lambda value: Constraint("regex", value, "regex"),
    "choice": _parse_choice,
}
