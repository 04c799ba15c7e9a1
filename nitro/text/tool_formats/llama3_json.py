"""Llama 3.x, whose answer is the call, with no tags around it. The tools that it was trained on have their own form:

{"name": "weather", "parameters": {"city": "Oslo"}}
<|python_tag|>brave_search.call(query="weather in Oslo")
"""

import json
import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls, python_calls
from nitro.text.tools import Call, Malformed, ToolsByName

_MAX_CHARACTERS = 80  # of white space and braces, before a text is taken for no call
_CODE = ("python", "ipython", "code_interpreter")


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    if body.lstrip(" \n[").startswith("{"):
        calls = json_calls.parse(body, tools)
        if any(call.arguments == "{}" and call.name not in tools for call in calls):
            raise Malformed("an answer in JSON that has a name")
        return calls
    if re.match(r"\s*[\w-]+\.call\(", body):
        return [Call(call.name.removesuffix(".call"), call.arguments) for call in python_calls.parse(body, tools)]
    name = next((name for name in _CODE if name in tools), None)
    if name:
        return [Call(name, json.dumps({"code": body.strip()}, ensure_ascii=False))]
    raise Malformed("no call begins there")


def starts_call(text: str) -> bool | None:
    """Decides by the first key, so that an answer in JSON which is no call need not be held back."""
    start = re.sub(r"\s+", "", text)
    for sign in ('{"name":', '{"type":"function"', '{"function":"'):
        if start.startswith(sign):
            return True
        if sign.startswith(start):
            return None if len(text) < _MAX_CHARACTERS else False
    return False


FORMAT = ToolFormat(
    name="llama3_json",
    template_markers=('{"name": function name, "parameters": dictionary of argument name and its value}',),
    open_tags=("<|python_tag|>",),
    close_tag="",
    parse=_parse,
    parse_partial=json_calls.parse_partial,
    starts_call=starts_call,
    layout=Layout(call='{"name": "$NAME", "parameters": $ARGUMENTS}', parallel=False),
    special_tokens=("<|python_tag|>",),
)
