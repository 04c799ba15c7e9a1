"""GigaChat 3, a call being a message of its own:

<|message_sep|>

function call<|role_sep|>
{"name": "weather", "arguments": {"city": "Oslo"}}
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

_OPENS = "<|message_sep|>\n\nfunction call<|role_sep|>"

FORMAT = Format(
    name="gigachat3",
    signs=("<|message_sep|>", "<|role_sep|>", "function call"),
    opens=(_OPENS, "function call<|role_sep|>"),
    closes="",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(begin=f"{_OPENS}\n", call='{"name": "$NAME", "arguments": $ARGUMENTS}', several=False),
    marks=("<|message_sep|>", "<|role_sep|>"),
)
