"""Granite 3:

<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="granite3",
    signs=("<|tool_call|>",),
    opens=("<|tool_call|>",),
    closes="",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(begin="<|tool_call|>[", call='{"name": "$NAME", "arguments": $ARGUMENTS}', between=", ", end="]"),
    marks=("<|tool_call|>",),
)
