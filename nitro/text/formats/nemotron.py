"""Nemotron Nano of the second generation:

<TOOLCALL>[{"name": "weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>
"""

from nitro.text.formats import json_calls
from nitro.text.formats.format import Format, Layout

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
