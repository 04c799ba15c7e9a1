"""GigaChat 3.1:

<|function_call|>{"name": "weather", "arguments": {"city": "Oslo"}}
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="gigachat31",
    template_markers=("<|message_sep|>", "<|role_sep|>", '"<|function_call|>"'),
    open_tags=("<|function_call|>",),
    close_tag="",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(begin="<|function_call|>", call='{"name": "$NAME", "arguments": $ARGUMENTS}', parallel=False),
    special_tokens=("<|function_call|>",),
)
