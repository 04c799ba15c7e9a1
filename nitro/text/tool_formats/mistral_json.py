"""Mistral before Small 3.2 (7B v0.3, Nemo, Large):

[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}, "id": "a1b2c3d4e"}]
"""

from nitro.text.tool_formats import mistral
from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="mistral_json",
    signs=("[TOOL_CALLS]",),
    opens=("[TOOL_CALLS]",),
    closes="",
    parse=mistral.parse,
    seen=json_calls.seen,
    layout=Layout(begin="[TOOL_CALLS][", call='{"name": "$NAME", "arguments": $ARGUMENTS}', between=", ", end="]"),
    marks=("[TOOL_CALLS]",),
)
