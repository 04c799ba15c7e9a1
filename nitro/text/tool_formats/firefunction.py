"""Firefunction:

functools[{"name": "weather", "arguments": {"city": "Oslo"}}]
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tools import Call, ToolsByName

_OPENS = "functools["  # the word alone is a Python module


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    return json_calls.parse("[" + body, tools)


FORMAT = ToolFormat(
    name="firefunction",
    template_markers=(_OPENS,),
    open_tags=(_OPENS,),
    close_tag="",
    parse=_parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(begin=_OPENS, call='{"name": "$NAME", "arguments": $ARGUMENTS}', call_separator=", ", end="]"),
)
