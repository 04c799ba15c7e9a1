"""Granite 3:

<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]
"""

from nitro.text.formats import json_calls
from nitro.text.formats.format import Format, Layout

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
