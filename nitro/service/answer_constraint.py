"""What an answer must be, where tools are offered and where the model reasons first: a Constraint for the engine."""

import msgspec
from msgspec.structs import replace

from nitro.engines.types import Constraint, Schema
from nitro.errors import ApiError
from nitro.service.requests import OfferedTools
from nitro.text import tool_grammar
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tool_grammar import CallGrammar


def with_tools(answer: Constraint | None, tools: OfferedTools, format: ToolFormat, parallel: bool) -> Constraint | None:
    """The constraint of an answer that may call tools, in the calls' format. None: nothing is enforced.

    `answer`: the request's own constraint, which holds where the answer is not a call. `parallel`: one answer may have
    several calls. Raises ApiError 400 for a constraint that cannot be combined with tools.
    """
    if answer and answer.kind != "json_schema":
        raise ApiError.invalid(answer.param, "nothing beside 'tools'")
    _check_strict(tools, format)
    called = tools.callable
    if tools.required:
        return _layout(tool_grammar.calls_only(format, called, parallel))
    if answer:
        schema = msgspec.json.decode(answer.source)
        return _layout(tool_grammar.calls_or_json(format, called, parallel, schema), answer.param)
    if not tools.enforced:
        return None
    opening = format.open_tags[0]
    if format.layout.begin.startswith(opening):
        calls = _layout(tool_grammar.calls_after_opening(format, called, parallel))
        return replace(calls, after=[opening.encode()], required=False)
    return _layout(tool_grammar.calls_or_text(format, called, parallel))


def _check_strict(tools: OfferedTools, format: ToolFormat) -> None:
    """Refuse strict schemas with a keyword that this format's calls cannot be held to."""
    for called in tools.callable:
        keywords = tool_grammar.unenforced_keywords(format, called) if called.tool.strict else []
        if keywords:
            expected = f"no '{keywords[0]}' (at /): a call in the format {format.name} cannot be held to it"
            raise ApiError.invalid(called.param, expected, code="invalid_json_schema")


def unenforced_tools(tools: OfferedTools, format: ToolFormat) -> list[str]:
    """What is not enforced of schemas that are not strict: a sentence for each keyword, with the name of its schema.

    The engine finds more of them. Where no grammar is built, nothing is enforced and nothing is listed.
    """
    return [
        f"{called.param}: {keyword} (at /) is not enforced in the format {format.name}"
        for called in tools.callable
        if called.enforced and not called.tool.strict
        for keyword in tool_grammar.unenforced_keywords(format, called)
    ]


def after_thinking(constraint: Constraint | None, markers: Markers | None, opened: bool) -> Constraint | None:
    """The constraint, applied only after the reasoning, which the prompt has `opened` or the model may open."""
    if constraint is None or markers is None:
        return constraint
    if opened:
        return replace(constraint, after=[markers.to_answer.encode(), *constraint.after])
    return replace(constraint, reasoning_tags=(markers.open_tag, markers.to_answer))


def _layout(grammar: CallGrammar, answer: str = "tools") -> Constraint:
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
