"""What an answer must be, where tools are offered and where the model reasons first: a Constraint for the engine."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from nitro.engines.types import Constraint, GrammarText, Place, PlainText, Schema
from nitro.errors import ApiError
from nitro.service.requests import OfferedTools
from nitro.text import tool_grammar
from nitro.text.reasoning import Markers
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tool_grammar import CallableTool, CallGrammar, UsedSchema

# Of the schemas that calls are held to. By the last two, compiling takes two seconds.
MAX_ARGUMENTS = 600  # of a tool, where each is written by itself
MAX_SCHEMA_CHARS = 2**17
MAX_SCHEMAS_CHARS = 2**19


def with_tools(answer: Constraint | None, tools: OfferedTools, format: ToolFormat, parallel: bool) -> Constraint | None:
    """The constraint of an answer that may call tools, in the calls' format. None: nothing is enforced.

    `answer`: the request's own constraint, which holds where the answer is not a call. `parallel`: one answer may have
    several calls. Raises ApiError 400 for a constraint that cannot be combined with tools.
    """
    if answer and answer.kind != "json_schema":
        raise ApiError.invalid(answer.param, "nothing beside 'tools'")
    called = tools.callable
    if tools.enforced:
        _check_sizes(called, format)
    _check_strict(tools, format)
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


def _check_sizes(tools: Sequence[CallableTool], format: ToolFormat) -> None:
    """Refuse what would take long to compile. Only what the client wrote counts, without what describes it."""
    total = 0
    for called in tools:
        chars = len(msgspec.json.encode(called.schema))
        total += chars
        if chars > MAX_SCHEMA_CHARS:
            expected = f"a schema of at most {MAX_SCHEMA_CHARS} characters without descriptions; it has {chars}"
            raise ApiError.invalid(called.param, expected)
        listed = called.schema.get("properties")
        if format.layout.parameter is not None and isinstance(listed, dict) and len(listed) > MAX_ARGUMENTS:
            expected = f"at most {MAX_ARGUMENTS} properties in the format {format.name}; it has {len(listed)}"
            raise ApiError.invalid(called.param, expected)
    if total > MAX_SCHEMAS_CHARS:
        expected = f"schemas of at most {MAX_SCHEMAS_CHARS} characters together without descriptions; they have {total}"
        raise ApiError.invalid("tools", expected)


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
    why = f"is not enforced in the format {format.name}"
    return [
        f"{called.param}: tool '{called.tool.name}': {keyword} (at /) {why}"
        for called in tools.callable
        if called.enforced and not called.tool.strict
        for keyword in tool_grammar.unenforced_keywords(format, called)
    ]


def after_thinking(
    constraint: Constraint | None, markers: Markers | None, opened: bool, called: ToolFormat | None = None
) -> Constraint | None:
    """The constraint, applied only after the reasoning, which the prompt has `opened` or the model may open. It ends
    with its closing, or with the opening of a call in the format `called`."""
    if constraint is None or markers is None:
        return constraint
    if called and constraint.kind == "layout":
        constraint = replace(constraint, call_opening=_opening_in_reasoning(called).encode())
    if opened:
        return replace(constraint, after=[markers.to_answer.encode(), *constraint.after])
    return replace(constraint, reasoning_tags=(markers.open_tag, markers.to_answer))


def _opening_in_reasoning(format: ToolFormat) -> str:
    """What opens calls wherever it stands; "": nothing does. In a message to the model itself, words quote calls."""
    opening = next((tag for tag in format.open_tags if format.layout.begin.startswith(tag)), "")
    quoted = format.messages is not None and not opening.startswith(format.messages.marks)
    return "" if quoted else opening


def _layout(grammar: CallGrammar, answer: str = "tools") -> Constraint:
    """`answer`: the parameter that the answer's own schema came by."""
    schemas = [_schema(used, answer) for used in grammar.schemas]
    texts = [PlainText(_schema(used.text, answer), used.mark, used.excluded) for used in grammar.texts]
    grammars = [GrammarText(*used) for used in grammar.grammars]
    return Constraint(
        "layout", grammar.source, "tools", marks=grammar.marks, schemas=schemas, texts=texts, grammars=grammars
    )


def _schema(used: UsedSchema, answer: str) -> Schema:
    """For an engine. The answer's own is strict; one that several tools have is as strict as each of them."""
    source = msgspec.json.encode(used.schema).decode()
    if not used.uses:
        return Schema(source, answer)
    places = [Place(use.called.param, use.pointer, use.called.tool.name) for use in used.uses]
    return Schema(source, places[0].param, used.uses[0].called.tool.strict, places)
