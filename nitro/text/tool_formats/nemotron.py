"""Nemotron Nano of the second generation:

<TOOLCALL>[{"name": "weather", "arguments": {"city": "Oslo"}}]</TOOLCALL>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="nemotron",
    template_markers=("<TOOLCALL>",),
    open_tags=("<TOOLCALL>",),
    close_tag="</TOOLCALL>",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<TOOLCALL>[", call='{"name": "$NAME", "arguments": $ARGUMENTS}', end="]</TOOLCALL>", call_separator=", "
    ),
    special_tokens=("<TOOLCALL>", "</TOOLCALL>"),
)
