"""Llama 3.x, whose answer is the call, with nothing around it. Tools that it was trained on have a form of their own:

{"name": "weather", "parameters": {"city": "Oslo"}}
<|python_tag|>brave_search.call(query="weather in Oslo")
"""

import json
import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls, python_calls
from nitro.text.tools import Call, Malformed, Tools

_MOST = 80  # characters of white space and braces, before it is told
_CODE = ("python", "ipython", "code_interpreter")


def _parse(body: str, tools: Tools) -> list[Call]:
    if body.lstrip(" \n[").startswith("{"):
        return json_calls.parse(body, tools)
    if re.match(r"\s*[\w-]+\.call\(", body):
        return [Call(call.name.removesuffix(".call"), call.arguments) for call in python_calls.parse(body, tools)]
    if name := next((name for name in _CODE if name in tools), None):
        return [Call(name, json.dumps({"code": body.strip()}, ensure_ascii=False))]
    raise Malformed("no call begins there")


def begins(text: str) -> bool | None:
    """Told by the first key: an answer in JSON that is no call need not be held back."""
    start = re.sub(r"\s+", "", text)
    for sign in ('{"name":', '{"type":"function"', '{"function":"'):
        if start.startswith(sign):
            return True
        if sign.startswith(start):
            return None if len(text) < _MOST else False
    return False


FORMAT = Format(
    name="llama3_json",
    signs=('{"name": function name, "parameters": dictionary of argument name and its value}',),
    opens=("<|python_tag|>",),
    closes="",
    parse=_parse,
    seen=json_calls.seen,
    begins=begins,
    layout=Layout(call='{"name": "$NAME", "parameters": $ARGUMENTS}', several=False),
    marks=("<|python_tag|>",),
)
