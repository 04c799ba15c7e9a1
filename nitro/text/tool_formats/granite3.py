"""Granite 3:

<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]

Granite 3.1 writes the tag without bars at times.
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tools import Call, ToolsByName


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    return json_calls.parse(body.rstrip().removesuffix("</tool_call>"), tools)


FORMAT = ToolFormat(
    name="granite3",
    template_markers=("<|tool_call|>",),
    open_tags=("<|tool_call|>", "<tool_call>"),
    close_tag="",
    parse=_parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<|tool_call|>[", call='{"name": "$NAME", "arguments": $ARGUMENTS}', call_separator=", ", end="]"
    ),
    special_tokens=("<|tool_call|>",),
)
