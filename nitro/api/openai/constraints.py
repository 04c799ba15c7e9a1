"""What an answer must be, by whichever name a request asks for it: `response_format` is OpenAI's, the others are of
llama-server and vLLM. Whether it can be enforced the engine finds out."""

from collections.abc import Callable
from typing import Any

import msgspec

from nitro.api.openai.schema import CommonRequest
from nitro.engines.types import Constraint
from nitro.errors import ApiError

Parsed = Constraint | None


def parse_constraint(request: CommonRequest) -> Parsed:
    """Raises ApiError 400: a wrong form, two at once, or one beside what contradicts it."""
    given = [(name, value) for name in PARSERS if (value := getattr(request, name)) not in (None, "")]
    parsed = [found for name, value in given if (found := PARSERS[name](value))]
    if len(parsed) > 1:
        raise _invalid(parsed[1].param, f"nothing beside '{parsed[0].param}'")
    if parsed and request.ignore_eos:
        raise _invalid("ignore_eos", f"false beside '{parsed[0].param}', which says where the answer ends")
    return parsed[0] if parsed else None


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
        raise _invalid("response_format.type", "'text', 'json_object' or 'json_schema'")
    if not isinstance(schema, dict):
        raise _invalid("response_format.json_schema.schema", "a JSON schema, which is an object")
    return _of_schema(schema, "response_format")


def _parse_choice(value: list[str]) -> Parsed:
    if not value or not all(value):
        raise _invalid("choice", "one text or more, none of them empty")
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


def _invalid(name: str, expected: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, f"Invalid value for '{name}': expected {expected}.", param=name, code=code)
