"""Apriel:

<tool_calls>[{"name": "weather", "arguments": {"city": "Oslo"}}]</tool_calls>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="apriel",
    signs=("<tool_calls>[", '{"name": <function-name-1>, "arguments": <args-dict-1>}'),
    opens=("<tool_calls>",),
    closes="</tool_calls>",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(
        begin="<tool_calls>[",
        call='{"name": "$NAME", "arguments": $ARGUMENTS}',
        between=", ",
        end="]</tool_calls>",
    ),
    marks=("<tool_calls>", "</tool_calls>"),
)
