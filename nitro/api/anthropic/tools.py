"""The tools that a request offers: checked, in the forms that templates and grammars want.

Tools without an `input_schema` have meanings that only Anthropic's servers or models know. Beside others, under `auto`,
they are left out and the client is told; where one is chosen or may be required, or there is no other, the request is
refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from nitro.api.anthropic import names, tool_changes
from nitro.api.anthropic.requests import MessagesRequest, ToolChoice
from nitro.api.names import Refused, asks
from nitro.api.openai.tools import MAX_TOOLS, NAME, NO_PARAMETERS
from nitro.api.prefix_cache import seconds_of_control, tool_control
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service import ignored_parameters
from nitro.service.requests import Breakpoint, OfferedTools
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

CHOICES = ("auto", "any", "tool", "none")
SEARCH = "tool_search_tool"  # a hosted tool, which would load the deferred ones


@dataclass(slots=True)
class _Read:
    """The tools of a request, as they were sent."""

    tools: list[tuple[CallableTool, dict[str, Any]]]  # with what the prompt says of each
    deferred: set[str]  # names
    left_out: dict[str, str]  # by its place: why
    left_out_names: set[str]
    told: list[str]  # names without effect, as they may stand in a header


def parse(request: MessagesRequest) -> tuple[OfferedTools | None, list[str]]:
    """The tools; None: none may be called. And the names without effect. Raises ApiError 400 with `param`."""
    changes = tool_changes.of(request.messages)
    sent = [(tool, f"tools[{i}]") for i, tool in enumerate(request.tools or [])]
    check_count("tools", sent, MAX_TOOLS, "tools")
    read = _read([*sent, *changes.defined])
    choice = request.tool_choice or ToolChoice("auto")
    _check_choice(choice, request)
    if choice.type == "none":
        return None, read.told
    _check_left_out(read, choice)
    hidden = (read.deferred - changes.loaded - {choice.name}) | changes.removed
    shown = [(called, said) for called, said in read.tools if called.tool.name not in hidden]
    told = [*read.told, *(ignored_parameters.escaped(f"{where}: {why}") for where, why in read.left_out.items())]
    if not shown:
        if choice.type != "auto":
            raise ApiError.invalid("tool_choice", "'auto' or 'none' where there are no tools")
        return None, told
    return _offered(shown, choice, request), told


def breakpoints(sent: Sequence[Mapping[str, Any]]) -> list[Breakpoint]:
    """That the tools stay in the prefix cache, if one of them says so: templates write all together. Raises ApiError
    400."""
    found = [(tool_control(tool, place := f"tools[{i}].cache_control"), place) for i, tool in enumerate(sent)]
    times = [seconds_of_control(control, place) for control, place in found if control]
    return [Breakpoint(max(times))] if times else []


def _offered(
    shown: Sequence[tuple[CallableTool, dict[str, Any]]], choice: ToolChoice, request: MessagesRequest
) -> OfferedTools:
    required = choice.type in ("any", "tool")
    if required and request.ignore_eos:
        raise ApiError.invalid("ignore_eos", "false beside 'tool_choice', which says where the answer ends")
    offered = [called for called, _ in shown]
    named = [called.tool.name for called in offered]
    if choice.type == "tool" and choice.name not in named:
        raise ApiError.invalid("tool_choice.name", f"a tool that is offered ({', '.join(named)}), got '{choice.name}'")
    return OfferedTools(
        offered=[said for _, said in shown],
        callable=[
            CallableTool(called.tool, called.param, called.enforced or required, True)
            for called in offered
            if choice.type != "tool" or called.tool.name == choice.name
        ],
        required=required,
        parallel=False if choice.disable_parallel_tool_use or choice.type == "tool" else None,
    )


def _check_choice(choice: ToolChoice, request: MessagesRequest) -> None:
    if choice.type not in CHOICES:
        raise ApiError.invalid("tool_choice.type", f"one of {', '.join(CHOICES)}, got '{choice.type}'")
    if choice.type == "tool" and choice.name is None:
        raise ApiError.missing("tool_choice.name")
    if choice.type != "tool" and choice.name is not None:
        raise ApiError.invalid("tool_choice.name", f"nothing beside the type '{choice.type}'")


def _check_left_out(read: _Read, choice: ToolChoice) -> None:
    """Raises ApiError 400 where what was left out might be called, or nothing else is there."""
    if not read.left_out:
        return
    where, why = next(iter(read.left_out.items()))
    if not read.tools:
        raise ApiError.unsupported(where, f"is no tool that can be called: {why}")
    if choice.type == "any":
        raise ApiError.unsupported(where, f"cannot be offered where a call is required: {why}")
    if choice.type == "tool" and choice.name in read.left_out_names:
        raise ApiError.unsupported("tool_choice.name", f"is '{choice.name}', which cannot be called: {why}")


def _read(sent: Sequence[tuple[dict[str, Any], str]]) -> _Read:
    read = _Read([], set(), {}, set(), [])
    searched = False
    seen: set[str] = set()
    for tool, where in sent:
        kind = tool.get("type")
        if kind in (None, "custom"):
            called, said = _tool(tool, where)
            name = called.tool.name
            read.tools.append((called, said))
            read.told += _told(tool, where)
            if tool.get("defer_loading"):
                read.deferred.add(name)
        else:
            read.left_out[where] = _why(kind, where)
            name = str(tool.get("name") or kind)
            read.left_out_names.add(name)
            searched = searched or kind.startswith(SEARCH)
        if name in seen:
            raise ApiError.invalid(f"{where}.name", f"a name of its own, got '{name}' twice")
        seen.add(name)
    if searched:  # nobody will load them
        read.deferred.clear()
    return read


def _why(kind: Any, where: str) -> str:
    """Why a tool of this type cannot be offered. Raises ApiError 400 for one that nobody knows."""
    for prefix, why in names.OTHER_TOOLS.items():
        if isinstance(kind, str) and re.fullmatch(rf"{prefix}(_.*)?", kind):
            return why
    raise ApiError.invalid(f"{where}.type", f"'custom', or a tool of Anthropic's, got '{kind}'")


def _tool(tool: Mapping[str, Any], where: str) -> tuple[CallableTool, dict[str, Any]]:
    """A tool with a schema, and what the prompt says of it, in OpenAI's form."""
    name, description, schema = tool.get("name"), tool.get("description"), tool.get("input_schema")
    if name is None:
        raise ApiError.missing(f"{where}.name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ApiError.invalid(f"{where}.name", "a name of letters, digits, '_', '-', '.' and ':', at most 128")
    if not isinstance(description, str | None):
        raise ApiError.invalid(f"{where}.description", "a text")
    if schema is None:
        raise ApiError.missing(f"{where}.input_schema")
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise ApiError.invalid(f"{where}.input_schema", "a JSON schema of type 'object'")
    for switch in ("strict", "defer_loading"):
        if not isinstance(tool.get(switch), bool | None):
            raise ApiError.invalid(f"{where}.{switch}", "true or false")
    callers = tool.get("allowed_callers")
    if callers is not None and (not isinstance(callers, list) or "direct" not in callers):
        raise ApiError.unsupported(f"{where}.allowed_callers", "must have 'direct': nothing runs code here")
    strict = bool(tool.get("strict"))
    parameters = {"type": "object", **schema} if schema else NO_PARAMETERS
    function: dict[str, Any] = {"name": name, "parameters": parameters}
    if said := (description or "") + _examples(tool.get("input_examples"), f"{where}.input_examples"):
        function = {"name": name, "description": said.strip(), "parameters": parameters}
    called = CallableTool(Tool(name, parameters, strict), f"{where}.input_schema", strict)
    return called, {"type": "function", "function": function}


def _examples(examples: Any, where: str) -> str:
    """Inputs that a tool may get, for its description: templates have no other place for them."""
    if not isinstance(examples, list | None) or not all(isinstance(example, dict) for example in examples or []):
        raise ApiError.invalid(where, "a list of objects")
    lines = [msgspec.json.encode(example).decode() for example in examples or []]
    return "\n\nExamples of its input:\n" + "\n".join(lines) if lines else ""


def _told(tool: Mapping[str, Any], where: str) -> list[str]:
    """The names in a tool that have no effect. Raises ApiError 400 for one that is refused."""
    told = []
    for name, value in tool.items():
        row = names.TOOL.get(name)
        if isinstance(row, Refused) and asks(value, row.neutral):
            raise row.refusal(f"{where}.{name}")
        if row is None and name not in names.TOOL_FIELDS and value is not None:
            told.append(ignored_parameters.escaped(f"{where}.{name}"))
    return told
