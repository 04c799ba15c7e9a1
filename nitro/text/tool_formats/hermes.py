"""Hermes, Qwen 2.5, Qwen 3, SmolLM3 and many others:

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="hermes",
    template_markers=("<tool_call>",),
    open_tags=("<tool_call>",),
    close_tag="</tool_call>",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(begin="<tool_call>\n", call='{"name": "$NAME", "arguments": $ARGUMENTS}', end="\n</tool_call>"),
    special_tokens=("<tool_call>", "</tool_call>"),
)
