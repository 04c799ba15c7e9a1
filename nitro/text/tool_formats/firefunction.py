"""Firefunction:

functools[{"name": "weather", "arguments": {"city": "Oslo"}}]
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tools import Call, Tools

_OPENS = "functools["  # the word alone is one of Python's


def _parse(body: str, tools: Tools) -> list[Call]:
    return json_calls.parse("[" + body, tools)


FORMAT = Format(
    name="firefunction",
    signs=(_OPENS,),
    opens=(_OPENS,),
    closes="",
    parse=_parse,
    seen=json_calls.seen,
    layout=Layout(begin=_OPENS, call='{"name": "$NAME", "arguments": $ARGUMENTS}', between=", ", end="]"),
)
