"""Granite 3:

<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="granite3",
    template_markers=("<|tool_call|>",),
    open_tags=("<|tool_call|>",),
    close_tag="",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<|tool_call|>[", call='{"name": "$NAME", "arguments": $ARGUMENTS}', call_separator=", ", end="]"
    ),
    special_tokens=("<|tool_call|>",),
)
