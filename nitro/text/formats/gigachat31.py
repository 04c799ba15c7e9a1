"""GigaChat 3.1:

<|function_call|>{"name": "weather", "arguments": {"city": "Oslo"}}
"""

from nitro.text.formats import json_calls
from nitro.text.formats.format import Format, Layout

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
