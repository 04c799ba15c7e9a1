"""MiniMax M1, a call on each line:

<tool_calls>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_calls>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="minimax_m1",
    signs=("<tool_calls>", '{"name": <tool-name>'),
    opens=("<tool_calls>",),
    closes="</tool_calls>",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(
        begin="<tool_calls>\n", call='{"name": "$NAME", "arguments": $ARGUMENTS}', end="\n</tool_calls>", between="\n"
    ),
    marks=("<tool_calls>", "</tool_calls>"),
)
