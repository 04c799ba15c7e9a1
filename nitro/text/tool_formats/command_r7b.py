"""Command R7B, Command A and later ones of Cohere's:

<|START_ACTION|>[
    {"tool_call_id": "0", "tool_name": "weather", "parameters": {"city": "Oslo"}}
]<|END_ACTION|>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls

FORMAT = ToolFormat(
    name="command_r7b",
    template_markers=("<|START_ACTION|>", "<|END_ACTION|>"),
    open_tags=("<|START_ACTION|>",),
    close_tag="<|END_ACTION|>",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<|START_ACTION|>[\n    ",
        call='{"tool_call_id": "$INDEX", "tool_name": "$NAME", "parameters": $ARGUMENTS}',
        call_separator=",\n    ",
        end="\n]<|END_ACTION|>",
    ),
    special_tokens=("<|START_ACTION|>", "<|END_ACTION|>"),
)
