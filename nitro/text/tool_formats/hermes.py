"""Hermes, Qwen 2.5, Qwen 3, SmolLM3 and many others:

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="hermes",
    signs=("<tool_call>",),
    opens=("<tool_call>",),
    closes="</tool_call>",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(begin="<tool_call>\n", call='{"name": "$NAME", "arguments": $ARGUMENTS}', end="\n</tool_call>"),
    marks=("<tool_call>", "</tool_call>"),
)
