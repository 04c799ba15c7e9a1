"""Names in the parts of a request that no struct describes: tools, calls, formats, choices."""

from typing import Any

from nitro.api.names import Refused, asks
from nitro.api.openai.names.inside import CALLED_FUNCTION, FUNCTION, REQUEST, TOOL, TOOL_CALL, Opening
from nitro.api.openai.requests import ChatRequest, CommonRequest
from nitro.service import ignored_parameters


def told(request: CommonRequest) -> list[str]:
    """The names without effect, with their paths, as they may stand in a header. Raises ApiError for one that is
    refused."""
    found: list[str] = []
    for name, opening in REQUEST.items():
        if value := getattr(request, name, None):
            _look(value, opening, name, found)
    if isinstance(request, ChatRequest):
        for i, message in enumerate(request.messages):
            if message.tool_calls:
                _look(message.tool_calls, TOOL_CALL, f"messages[{i}].tool_calls", found)
            if message.function_call:
                _look(message.function_call, CALLED_FUNCTION, f"messages[{i}].function_call", found)
    return found


def _look(value: Any, opening: Opening, where: str, found: list[str]) -> None:
    if isinstance(value, list):
        for i, item in enumerate(value):
            _look(item, opening, f"{where}[{i}]", found)
    elif isinstance(value, dict):
        if not value.keys() <= opening.names:
            found += _told_of(value, opening, where)
        for name, inner in opening.inside.items():
            if name in value:
                _look(value[name], inner, f"{where}.{name}", found)


def _told_of(value: dict[str, Any], opening: Opening, where: str) -> list[str]:
    found = []
    for name, inner in value.items():
        if name in opening.names or inner is None:
            continue
        row = opening.known.get(name)
        if row is None:
            found.append(ignored_parameters.escaped(f"{where}.{name}"))
        elif isinstance(row, Refused) and asks(inner, row.neutral):
            raise row.refusal(f"{where}.{name}")
    return found


def shown(tool: dict[str, Any], legacy: bool) -> dict[str, Any]:
    """What the prompt says of a tool, in the current form: what has no effect is not in it. `legacy`: it is a function
    alone."""
    function: dict[str, Any] = tool if legacy else tool["function"]
    if not function.keys() <= FUNCTION.own:
        function = {name: value for name, value in function.items() if name in FUNCTION.own}
    if legacy:
        return {"type": "function", "function": function}
    if tool.keys() <= TOOL.own and function is tool["function"] and tool.get("type"):
        return tool
    return {"type": "function", "function": function}
