"""GigaChat 3.1:

<|function_call|>{"name": "weather", "arguments": {"city": "Oslo"}}
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="gigachat31",
    signs=("<|message_sep|>", "<|role_sep|>", '"<|function_call|>"'),
    opens=("<|function_call|>",),
    closes="",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(begin="<|function_call|>", call='{"name": "$NAME", "arguments": $ARGUMENTS}', several=False),
    marks=("<|function_call|>",),
)
