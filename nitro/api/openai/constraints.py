"""Structured output: what an answer must match, by any of the parameters that ask for it, and what tools add to that.

`response_format` is OpenAI's; the others are llama-server's and vLLM's. The engine finds out whether it can enforce it.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.api.openai.requests import GenerationRequest
from nitro.api.openai.tools import Tools
from nitro.engines.types import Constraint, Schema
from nitro.errors import ApiError
from nitro.text import tool_grammar
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import Format
from nitro.text.tool_grammar import Grammar

Parsed = Constraint | None


def parse_constraint(request: GenerationRequest) -> Parsed:
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
    return first


def with_tools(answer: Parsed, tools: Tools, format: Format, parallel: bool) -> Parsed:
    """The constraint of an answer that may call tools, in the calls' format. None: nothing is enforced.

    `answer`: the request's own constraint, which holds where the answer is not a call. `parallel`: one answer may have
    several calls. Raises ApiError 400 for a constraint that cannot be combined with tools.
    """
    if answer and answer.kind != "json_schema":
        raise ApiError.invalid(answer.param, "nothing beside 'tools'")
    _check_strict(tools, format)
    called = tools.callable
    if tools.required:
        return _layout(tool_grammar.required(format, called, parallel))
    if answer:
        schema = msgspec.json.decode(answer.source)
        return _layout(tool_grammar.calls_or_answer(format, called, parallel, schema), answer.param)
    if not tools.enforced:
        return None
    opening = format.opens[0]
    if format.layout.begin.startswith(opening):
        calls = _layout(tool_grammar.after_opening(format, called, parallel))
        return replace(calls, after=[opening.encode()], owed=False)
    return _layout(tool_grammar.calls_or_text(format, called, parallel))


def _check_strict(tools: Tools, format: Format) -> None:
    """Refuse strict schemas with a keyword that this format's calls cannot be held to."""
    for called in tools.callable:
        keywords = tool_grammar.unheld(format, called) if called.tool.strict else []
        if keywords:
            expected = f"no '{keywords[0]}' (at /): a call in the format {format.name} cannot be held to it"
            raise ApiError.invalid(called.param, expected, code="invalid_json_schema")


def let_through(tools: Tools, format: Format) -> list[str]:
    """What is not enforced of schemas that are not strict: a sentence for each keyword, with the name of its schema.

    The engine finds more of them. Where no grammar is built, nothing is enforced and nothing is listed.
    """
    return [
        f"{called.param}: {keyword} (at /) is not enforced in the format {format.name}"
        for called in tools.callable
        if called.enforced and not called.tool.strict
        for keyword in tool_grammar.unheld(format, called)
    ]


def after_thinking(constraint: Parsed, markers: Markers | None, opened: bool) -> Parsed:
    """The constraint, applied only after the reasoning, which the prompt has `opened` or the model may open."""
    if constraint is None or markers is None:
        return constraint
    if opened:
        return replace(constraint, after=[markers.left.encode(), *constraint.after])
    return replace(constraint, thinks=(markers.opens, markers.left))


def _layout(grammar: Grammar, answer: str = "tools") -> Constraint:
    """`answer`: the parameter that the answer's own schema came by."""
    schemas = [
        Schema(
            msgspec.json.encode(schema).decode(),
            called.param if called else answer,
            strict=called is None or called.tool.strict,
        )
        for schema, called in grammar.schemas
    ]
    return Constraint("layout", grammar.source, "tools", marks=grammar.marks, schemas=schemas, texts=grammar.texts)


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
