"""What an answer must be, by whichever name a request asks for it: `response_format` is OpenAI's, the others are of
llama-server and vLLM; and what tools want of it. Whether it can be enforced the engine finds out."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api.openai.schema import GenerationRequest
from nitro.api.openai.tools import Tools
from nitro.engines.types import Constraint, Schema
from nitro.errors import ApiError
from nitro.text import tool_grammar
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tool_grammar import CallGrammar

Parsed = Constraint | None


def parse_constraint(request: GenerationRequest) -> Parsed:
    """Raises ApiError 400: a wrong form, two at once, or one beside what contradicts it."""
    given = [(name, value) for name in PARSERS if (value := getattr(request, name)) not in (None, "")]
    parsed = [found for name, value in given if (found := PARSERS[name](value))]
    if len(parsed) > 1:
        raise _invalid(parsed[1].param, f"nothing beside '{parsed[0].param}'")
    if parsed and request.ignore_eos:
        raise _invalid("ignore_eos", f"false beside '{parsed[0].param}', which says where the answer ends")
    return parsed[0] if parsed else None


def with_tools(answer: Parsed, tools: Tools, format: ToolFormat, several: bool) -> Parsed:
    """The answer's own constraint, or calls of the tools. Raises ApiError 400 for what cannot be beside tools."""
    if answer and answer.kind != "json_schema":
        raise _invalid(answer.param, "nothing beside 'tools'")
    for called in tools.callable:
        if called.tool.strict and (keywords := tool_grammar.unenforced_keywords(format, called)):
            expected = f"no '{keywords[0]}' (at /): a call in the format {format.name} cannot be held to it"
            raise _invalid(called.param, expected, code="invalid_json_schema")
    asked = format, tools.callable, several
    if tools.required:
        return _layout(tool_grammar.calls_only(*asked))
    if answer:
        return _layout(tool_grammar.calls_or_json(*asked, msgspec.json.decode(answer.source)), answer.param)
    if not tools.enforced:
        return None
    if format.layout.begin.startswith(format.open_tags[0]):
        return replace(
            _layout(tool_grammar.calls_after_opening(*asked)), after=[format.open_tags[0].encode()], owed=False
        )
    return _layout(tool_grammar.calls_or_text(*asked))


def let_through(tools: Tools, format: ToolFormat) -> list[str]:
    """What is not enforced of schemas that need not be strict, each with the name of its schema; the engine finds more.
    Without a grammar nothing is."""
    return [
        f"{called.param}: {keyword} (at /) is not enforced in the format {format.name}"
        for called in tools.callable
        if called.enforced and not called.tool.strict
        for keyword in tool_grammar.unenforced_keywords(format, called)
    ]


def after_thinking(constraint: Parsed, markers: Markers | None, opened: bool) -> Parsed:
    """The constraint is on what follows a reasoning, which the prompt has `opened` or the model may open."""
    if constraint is None or markers is None:
        return constraint
    if opened:
        return replace(constraint, after=[markers.to_answer.encode(), *constraint.after])
    return replace(constraint, thinks=(markers.open_tag, markers.to_answer))


def _layout(grammar: CallGrammar, answer: str = "tools") -> Constraint:
    schemas = [
        Schema(
            msgspec.json.encode(schema).decode(),
            called.param if called else answer,
            strict=called is None or called.tool.strict,
        )
        for schema, called in grammar.schemas
    ]
    return Constraint("layout", grammar.source, "tools", [], None, grammar.marks, schemas, grammar.texts)


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
