"""The tools that a request offers: checked, as templates and grammars want them. `functions` and `function_call`, the
deprecated pair, mean the same."""

import re
from dataclasses import dataclass
from typing import Any

from nitro.api.openai.schema import ChatRequest
from nitro.errors import ApiError
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

MOST_TOOLS = 1024
NAME = r"[A-Za-z0-9_.:-]{1,128}"
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Tools:
    """`told`: those that the model is told of, in OpenAI's form. `callable`: those that it may call."""

    told: list[dict[str, Any]]
    callable: list[CallableTool]
    required: bool  # the answer is a call
    several: bool | None  # calls in one answer; None: if the model's own format has that
    legacy: bool  # asked for by `functions`, and answered so

    @property
    def enforced(self) -> bool:
        """Whether calls are certain to be well formed."""
        return self.required or any(called.enforced for called in self.callable)

    @property
    def by_name(self) -> dict[str, Tool]:
        return {called.tool.name: called.tool for called in self.callable}


def parse_tools(request: ChatRequest) -> Tools | None:
    """None: no tool may be called. Raises ApiError 400 with `param`."""
    legacy = bool(request.functions) and not request.tools
    param, given = ("functions", request.functions) if legacy else ("tools", request.tools)
    choice_param = "function_call" if legacy else "tool_choice"
    choice: Any = request.function_call if legacy else request.tool_choice
    if request.tools and request.functions:
        raise _invalid("functions", "nothing beside 'tools'")
    for other, offers in (("function_call", request.functions), ("tool_choice", request.tools)):
        if not offers and getattr(request, other) not in (None, "none", "auto"):
            of = {"function_call": "functions", "tool_choice": "tools"}[other]
            raise _invalid(other, f"'none' or 'auto' where there are no {of}")
    if not given:
        return None
    if len(given) > MOST_TOOLS:
        raise _invalid(param, f"at most {MOST_TOOLS} tools, got {len(given)}")
    parsed = [_parse(tool, f"{param}[{i}]", legacy) for i, tool in enumerate(given)]
    names = [called.tool.name for called in parsed]
    if (twice := _first_repeated(names)) is not None:
        where = f"{param}[{twice}].name" if legacy else f"{param}[{twice}].function.name"
        raise _invalid(where, f"a name of its own, got '{names[twice]}' twice")
    mode, allowed, named = _choice(choice, choice_param, names)
    if mode == "none":
        return None
    told = [{"type": "function", "function": tool} for tool in given] if legacy else list(given)
    if allowed is not None and mode == "auto":  # the model cannot call what it is not told of
        told = [tool for tool, name in zip(told, names, strict=True) if name in allowed]
    required = mode == "required"
    if required and request.ignore_eos:
        raise _invalid("ignore_eos", f"false beside '{choice_param}', which says where the answer ends")
    several = False if named or legacy else request.parallel_tool_calls
    callable = [
        CallableTool(called.tool, called.param, called.tool.strict or required)
        for called in parsed
        if allowed is None or called.tool.name in allowed
    ]
    return Tools(told, callable, required, several, legacy)


def _first_repeated(names: list[str]) -> int | None:
    """The place of the first name that stood before."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            return i
        seen.add(name)
    return None


def _parse(given: dict[str, Any], where: str, legacy: bool) -> CallableTool:
    function = given
    if not legacy:
        if given.get("type", "function") != "function":
            raise ApiError(
                400,
                f"Unsupported value: '{where}.type' is '{given['type']}'; only functions can be called here.",
                param=f"{where}.type",
                code="unsupported_value",
            )
        where += ".function"
        function = given.get("function")  # type: ignore[assignment]
        if not isinstance(function, dict):
            raise _invalid(where, "an object")
    name, strict = function.get("name"), function.get("strict")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise _invalid(f"{where}.name", "a name of letters, digits, '_', '-', '.' and ':', at most 128")
    if not isinstance(function.get("description"), str | None):
        raise _invalid(f"{where}.description", "a text")
    if not isinstance(strict, bool | None):
        raise _invalid(f"{where}.strict", "true or false")
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        raise _invalid(f"{where}.parameters", "a JSON schema, which is an object")
    if parameters and parameters.get("type", "object") != "object":
        raise _invalid(f"{where}.parameters", "a schema of type 'object'")
    schema = {"type": "object", **parameters} if parameters else NO_PARAMETERS
    return CallableTool(Tool(name, schema, bool(strict)), f"{where}.parameters", bool(strict))


def _choice(choice: Any, param: str, names: list[str]) -> tuple[str, list[str] | None, bool]:
    """none, auto or required; the names that may be called, None: all; whether it is a single one by its name."""
    if choice is None or choice in ("none", "auto", "required"):
        return choice or "auto", None, False
    if not isinstance(choice, dict):
        raise _invalid(param, "'none', 'auto', 'required' or an object")
    if choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        mode, tools = (inner.get("mode", "auto"), inner.get("tools")) if isinstance(inner, dict) else (None, None)
        if mode not in ("auto", "required"):
            raise _invalid(f"{param}.allowed_tools.mode", "'auto' or 'required'")
        if not isinstance(tools, list) or not tools or len(tools) > MOST_TOOLS:
            raise _invalid(f"{param}.allowed_tools.tools", f"a list of tools, at most {MOST_TOOLS}")
        each = [f"{param}.allowed_tools.tools[{i}]" for i in range(len(tools))]
        return mode, [_named(tool, where, names) for tool, where in zip(tools, each, strict=True)], False
    return "required", [_named(choice, param, names)], True


def _named(choice: Any, where: str, names: list[str]) -> str:
    """{"type": "function", "function": {"name": …}}, or the name at its top, as elsewhere in OpenAI's API."""
    kind = choice.get("type", "function") if isinstance(choice, dict) else None
    inner = choice.get("function", choice) if kind == "function" else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if name not in names:
        raise _invalid(where, f"a function that is offered ({', '.join(names)})" + (f", got '{name}'" if name else ""))
    return str(name)


def _invalid(name: str, expected: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{name}': expected {expected}.", param=name, code="invalid_value")
