"""Nemotron Nano of the second generation:

<TOOLCALL>[{"name": "weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="nemotron",
    signs=("<TOOLCALL>",),
    opens=("<TOOLCALL>",),
    closes="</TOOLCALL>",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(
        begin="<TOOLCALL>[", call='{"name": "$NAME", "arguments": $ARGUMENTS}', end="]</TOOLCALL>", between=", "
    ),
    marks=("<TOOLCALL>", "</TOOLCALL>"),
)
