"""MiniMax M1, a call on each line:

<tool_calls>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_calls>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="minimax_m1",
    template_markers=("<tool_calls>", '{"name": <tool-name>'),
    open_tags=("<tool_calls>",),
    close_tag="</tool_calls>",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<tool_calls>\n",
        call='{"name": "$NAME", "arguments": $ARGUMENTS}',
        end="\n</tool_calls>",
        call_separator="\n",
    ),
    special_tokens=("<tool_calls>", "</tool_calls>"),
)
