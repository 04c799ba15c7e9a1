"""Which of its tools a request wants called: `tool_choice`."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from nitro.api.openai.tools import MAX_TOOLS
from nitro.api.responses.reply_options import CalledTool
from nitro.errors import ApiError

CALLABLE = ("function", "custom", "namespace")  # the types of tools that can be called here


class Choice(NamedTuple):
    """`mode`: none, auto or required. `allowed`: names that the model knows; None: all. `single`: it names one tool."""

    mode: str
    allowed: Collection[str] | None = None
    single: bool = False


def parse(choice: Any, called: Mapping[str, CalledTool], hosted: Mapping[str, str]) -> Choice:
    """`called`: the tools, by the name that the model knows. `hosted`: by where they stand, the types of the others.

    Raises ApiError 400 with `param`, also where a hosted tool is all that the model could call, or has to.
    """
    parsed = _parse(choice, called)
    if hosted and ((parsed.mode == "required" and parsed.allowed is None) or (parsed.mode == "auto" and not called)):
        where, kind = next(iter(hosted.items()))
        raise _refusal(where, kind)
    if parsed.mode == "required" and not called:
        raise ApiError.invalid("tool_choice", "'none' or 'auto' where there are no tools")
    return parsed


def _parse(choice: Any, called: Mapping[str, CalledTool]) -> Choice:
    if choice is None or choice in ("none", "auto", "required"):
        return Choice(choice or "auto")
    if not isinstance(choice, dict):
        raise ApiError.invalid("tool_choice", "'none', 'auto', 'required' or an object")
    if choice.get("type") == "allowed_tools":
        return _allowed(choice, called)
    return Choice("required", _named(choice, "tool_choice", called), single=True)


def _allowed(choice: Mapping[str, Any], called: Mapping[str, CalledTool]) -> Choice:
    """{"type": "allowed_tools", "mode": …, "tools": [{"type": "function", "name": …}, …]}"""
    mode, tools = choice.get("mode"), choice.get("tools")
    if mode not in ("auto", "required"):
        raise ApiError.invalid("tool_choice.mode", "'auto' or 'required'")
    if not isinstance(tools, list) or not tools or len(tools) > MAX_TOOLS:
        raise ApiError.invalid("tool_choice.tools", f"a list of tools, at most {MAX_TOOLS}")
    found = [name for i, tool in enumerate(tools) for name in _named(tool, f"tool_choice.tools[{i}]", called)]
    return Choice(mode, found)


def _named(choice: Any, where: str, called: Mapping[str, CalledTool]) -> list[str]:
    """The names that the model knows of {"type": …, "name": …}, maybe with a `namespace`; of a namespace all."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(kind, str):
        raise ApiError.invalid(where, "an object with a 'type'")
    if kind not in CALLABLE:
        raise _refusal(f"{where}.type", kind)
    name, namespace = choice.get("name"), choice.get("namespace")
    if kind == "namespace":
        found = [shown for shown, tool in called.items() if tool.namespace == name]
    else:
        found = [
            shown
            for shown, tool in called.items()
            if tool.name == name and tool.custom == (kind == "custom") and namespace in (None, tool.namespace)
        ]
    if not found:
        said = f", got '{name}'" if name else ""
        raise ApiError.invalid(where, f"a {kind} that is offered ({', '.join(called)}){said}")
    return found


def _refusal(where: str, kind: str) -> ApiError:
    return ApiError(
        400,
        f"Unsupported value: '{where}' is '{kind}', which this server cannot run; offer functions or custom tools.",
        param=where,
        code="unsupported_value",
    )
