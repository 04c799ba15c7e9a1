"""Gemma 4:

<|tool_call>call:weather{city:<|"|>Oslo<|"|>,days:3}<tool_call|>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.gemma_calls import GemmaCalls

_QUOTE = '<|"|>'

_CALLS = GemmaCalls(_QUOTE)
FORMAT = Format(
    name="gemma4",
    signs=("<|tool_call>", "<tool_call|>", _QUOTE),
    opens=("<|tool_call>",),
    closes="<tool_call|>",
    parse=_CALLS.parse,
    seen=_CALLS.seen,
    layout=Layout(
        begin="<|tool_call>",
        call="call:$NAME{$ARGUMENTS}",
        end="<tool_call|>",
        parameter="$KEY:$VALUE",
        quote=_QUOTE,
        separator=",",
    ),
    marks=("<|tool_call>", "<tool_call|>", _QUOTE),
)
