"""Apriel:

<tool_calls>[{"name": "weather", "arguments": {"city": "Oslo"}}]</tool_calls>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="apriel",
    template_markers=("<tool_calls>[", '{"name": <function-name-1>, "arguments": <args-dict-1>}'),
    open_tags=("<tool_calls>",),
    close_tag="</tool_calls>",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<tool_calls>[",
        call='{"name": "$NAME", "arguments": $ARGUMENTS}',
        call_separator=", ",
        end="]</tool_calls>",
    ),
    special_tokens=("<tool_calls>", "</tool_calls>"),
)
