"""The tools that a request offers: checked, in the forms that templates and grammars want.

`functions` and `function_call`, the deprecated pair, mean the same as `tools` and `tool_choice`.
"""

import re
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from nitro.api.openai import open_names
from nitro.api.openai.constraints import closes_objects
from nitro.api.openai.requests import ChatRequest
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service.requests import OfferedTools
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

MAX_TOOLS = 1024
NAME = r"[A-Za-z0-9_.:-]{1,128}"
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class _Form(NamedTuple):
    """The names of the two parameters of a form."""

    tools: Literal["tools", "functions"]
    choice: Literal["tool_choice", "function_call"]


CURRENT = _Form("tools", "tool_choice")
LEGACY = _Form("functions", "function_call")


class _Choice(NamedTuple):
    mode: str  # none, auto or required
    allowed: Collection[str] | None = None  # names of tools; None: all
    single: bool = False  # it names one tool


def parse_tools(request: ChatRequest) -> OfferedTools | None:
    """The tools of a request. None: no tool may be called. Raises ApiError 400 with `param`."""
    _check_conflicts(request)
    form = LEGACY if uses_functions(request) else CURRENT
    offered: list[dict[str, Any]] | None = getattr(request, form.tools)
    if not offered:
        return None
    parsed = _parse_offered(offered, form)
    choice = _parse_choice(getattr(request, form.choice), form.choice, [called.tool.name for called in parsed])
    if choice.mode == "none":
        return None
    required = choice.mode == "required"
    if required and request.ignore_eos:
        raise ApiError.invalid("ignore_eos", f"false beside '{form.choice}', which says where the answer ends")
    legacy = form is LEGACY
    return OfferedTools(
        offered=_in_prompt(offered, parsed, choice, legacy),
        callable=[
            CallableTool(called.tool, called.param, called.tool.strict or required, closes_objects(request))
            for called in parsed
            if choice.allowed is None or called.tool.name in choice.allowed
        ],
        required=required,
        parallel=False if choice.single or legacy else request.parallel_tool_calls,
    )


def uses_functions(request: ChatRequest) -> bool:
    """Whether the request offers its tools in the deprecated form, so that calls go out in that form."""
    return bool(request.functions)


def _check_conflicts(request: ChatRequest) -> None:
    if request.tools and request.functions:
        raise ApiError.invalid("functions", "nothing beside 'tools'")
    for form in (LEGACY, CURRENT):
        if not getattr(request, form.tools) and getattr(request, form.choice) not in (None, "none", "auto"):
            raise ApiError.invalid(form.choice, f"'none' or 'auto' where there are no {form.tools}")


def _parse_offered(offered: list[dict[str, Any]], form: _Form) -> list[CallableTool]:
    """Each tool, checked. Their names differ."""
    check_count(form.tools, offered, MAX_TOOLS, "tools")
    parsed: list[CallableTool] = []
    for i, tool in enumerate(offered):
        where = f"{form.tools}[{i}]"
        parsed.append(_parse_function(tool, where) if form is LEGACY else _parse_tool(tool, where))
    names: set[str] = set()
    for i, called in enumerate(parsed):
        name = called.tool.name
        if name in names:
            where = f"{form.tools}[{i}]" if form is LEGACY else f"{form.tools}[{i}].function"
            raise ApiError.invalid(f"{where}.name", f"a name of its own, got '{name}' twice")
        names.add(name)
    return parsed


def _parse_tool(tool: dict[str, Any], where: str) -> CallableTool:
    if tool.get("type") not in (None, "function"):
        raise ApiError(
            400,
            f"Unsupported value: '{where}.type' is '{tool['type']}'; only functions can be called here.",
            param=f"{where}.type",
            code="unsupported_value",
        )
    function = tool.get("function")
    if not isinstance(function, dict):
        raise ApiError.invalid(f"{where}.function", "an object")
    return _parse_function(function, f"{where}.function")


def _parse_function(function: dict[str, Any], where: str) -> CallableTool:
    name = function.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ApiError.invalid(f"{where}.name", "a name of letters, digits, '_', '-', '.' and ':', at most 128")
    if not isinstance(function.get("description"), str | None):
        raise ApiError.invalid(f"{where}.description", "a text")
    strict = function.get("strict")
    if not isinstance(strict, bool | None):
        raise ApiError.invalid(f"{where}.strict", "true or false")
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        raise ApiError.invalid(f"{where}.parameters", "a JSON schema, which is an object")
    if parameters and parameters.get("type", "object") != "object":
        raise ApiError.invalid(f"{where}.parameters", "a schema of type 'object'")
    schema = {"type": "object", **parameters} if parameters else NO_PARAMETERS
    return CallableTool(Tool(name, schema, bool(strict)), f"{where}.parameters", bool(strict))


def _parse_choice(choice: Any, param: str, names: Collection[str]) -> _Choice:
    """`names`: those of the tools that are offered."""
    if choice is None or choice in ("none", "auto", "required"):
        return _Choice(choice or "auto")
    if not isinstance(choice, dict):
        raise ApiError.invalid(param, "'none', 'auto', 'required' or an object")
    if choice.get("type") == "allowed_tools":
        return _parse_allowed(choice.get("allowed_tools", choice), f"{param}.allowed_tools", names)
    return _Choice("required", [_parse_named(choice, param, names)], single=True)


def _parse_allowed(allowed: Any, where: str, names: Collection[str]) -> _Choice:
    """{"mode": …, "tools": [{"type": "function", …}, …]}"""
    mode = allowed.get("mode", "auto") if isinstance(allowed, dict) else None
    if mode not in ("auto", "required"):
        raise ApiError.invalid(f"{where}.mode", "'auto' or 'required'")
    tools = allowed.get("tools")
    if not isinstance(tools, list) or not tools or len(tools) > MAX_TOOLS:
        raise ApiError.invalid(f"{where}.tools", f"a list of tools, at most {MAX_TOOLS}")
    return _Choice(mode, [_parse_named(tool, f"{where}.tools[{i}]", names) for i, tool in enumerate(tools)])


def _parse_named(choice: Any, where: str, names: Collection[str]) -> str:
    """{"type": "function", "function": {"name": …}}, or the name at its top, as elsewhere in OpenAI's API."""
    kind = choice.get("type", "function") if isinstance(choice, dict) else None
    inner = choice.get("function", choice) if kind == "function" else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if name not in names:
        found = f", got '{name}'" if name else ""
        raise ApiError.invalid(where, f"a function that is offered ({', '.join(names)}){found}")
    return str(name)


def _in_prompt(
    offered: list[dict[str, Any]], parsed: list[CallableTool], choice: _Choice, legacy: bool
) -> list[dict[str, Any]]:
    """What the prompt describes. Where `auto` is limited to some tools, the model does not see the others."""
    tools = [open_names.shown(tool, legacy) for tool in offered]
    if choice.allowed is None or choice.mode != "auto":
        return tools
    return [tool for tool, called in zip(tools, parsed, strict=True) if called.tool.name in choice.allowed]
