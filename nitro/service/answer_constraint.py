"""What an answer must be, where tools are offered and where the model reasons first: a Constraint for the engine."""

import msgspec
from msgspec.structs import replace

from nitro.engines.types import Constraint, Schema
from nitro.errors import ApiError
from nitro.service.requests import OfferedTools
from nitro.text import tool_grammar
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import Format
from nitro.text.tool_grammar import Grammar


def with_tools(
    answer: Constraint | None, tools: OfferedTools, format: Format, parallel_calls: bool
) -> Constraint | None:
    """The answer's own constraint, or calls of the tools. Raises ApiError 400 for what cannot be beside tools."""
    if answer and answer.kind != "json_schema":
        raise _invalid(answer.param, "nothing beside 'tools'")
    for called in tools.callable:
        if called.tool.strict and (keywords := tool_grammar.unheld(format, called)):
            expected = f"no '{keywords[0]}' (at /): a call in the format {format.name} cannot be held to it"
            raise _invalid(called.param, expected, code="invalid_json_schema")
    arguments = (format, tools.callable, parallel_calls)
    if tools.required:
        return _layout(tool_grammar.required(*arguments))
    if answer:
        return _layout(tool_grammar.calls_or_answer(*arguments, msgspec.json.decode(answer.source)), answer.param)
    if not tools.enforced:
        return None
    if format.layout.begin.startswith(format.opens[0]):
        return replace(_layout(tool_grammar.after_opening(*arguments)), after=[format.opens[0].encode()], owed=False)
    return _layout(tool_grammar.calls_or_text(*arguments))


def unenforced_tools(tools: OfferedTools, format: Format) -> list[str]:
    """What is not enforced of schemas that need not be strict, each with the name of its schema; the engine finds more.
    Without a grammar nothing is."""
    return [
        f"{called.param}: {keyword} (at /) is not enforced in the format {format.name}"
        for called in tools.callable
        if called.enforced and not called.tool.strict
        for keyword in tool_grammar.unheld(format, called)
    ]


def after_thinking(constraint: Constraint | None, markers: Markers | None, opened: bool) -> Constraint | None:
    """The constraint is on what follows a reasoning, which the prompt has `opened` or the model may open."""
    if constraint is None or markers is None:
        return constraint
    if opened:
        return replace(constraint, after=[markers.left.encode(), *constraint.after])
    return replace(constraint, thinks=(markers.opens, markers.left))


def _layout(grammar: Grammar, answer: str = "tools") -> Constraint:
    schemas = [
        Schema(
            msgspec.json.encode(schema).decode(),
            called.param if called else answer,
            strict=called is None or called.tool.strict,
        )
        for schema, called in grammar.schemas
    ]
    return Constraint("layout", grammar.source, "tools", [], None, grammar.marks, schemas, grammar.texts)


def _invalid(name: str, expected: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, f"Invalid value for '{name}': expected {expected}.", param=name, code=code)
