"""Command R7B, Command A and later ones of Cohere's:

<|START_ACTION|>[
    {"tool_call_id": "0", "tool_name": "weather", "parameters": {"city": "Oslo"}}
]<|END_ACTION|>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

FORMAT = Format(
    name="command_r7b",
    signs=("<|START_ACTION|>", "<|END_ACTION|>"),
    opens=("<|START_ACTION|>",),
    closes="<|END_ACTION|>",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(
        begin="<|START_ACTION|>[\n    ",
        call='{"tool_call_id": "$INDEX", "tool_name": "$NAME", "parameters": $ARGUMENTS}',
        between=",\n    ",
        end="\n]<|END_ACTION|>",
    ),
    marks=("<|START_ACTION|>", "<|END_ACTION|>"),
)
