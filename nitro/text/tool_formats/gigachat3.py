"""GigaChat 3, a call being a message of its own:

<|message_sep|>

function call<|role_sep|>
{"name": "weather", "arguments": {"city": "Oslo"}}
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

_OPENS = "<|message_sep|>\n\nfunction call<|role_sep|>"

FORMAT = ToolFormat(
    name="gigachat3",
    template_markers=("<|message_sep|>", "<|role_sep|>", "function call"),
    open_tags=(_OPENS, "function call<|role_sep|>"),
    close_tag="",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(begin=f"{_OPENS}\n", call='{"name": "$NAME", "arguments": $ARGUMENTS}', parallel=False),
    special_tokens=("<|message_sep|>", "<|role_sep|>"),
)
