"""Mistral before Small 3.2 (7B v0.3, Nemo, Large):

[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}, "id": "a1b2c3d4e"}]
"""

from nitro.text.tool_formats import mistral
from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="mistral_json",
    template_markers=("[TOOL_CALLS]",),
    open_tags=("[TOOL_CALLS]",),
    close_tag="",
    parse=mistral.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="[TOOL_CALLS][", call='{"name": "$NAME", "arguments": $ARGUMENTS}', call_separator=", ", end="]"
    ),
    special_tokens=("[TOOL_CALLS]",),
)
