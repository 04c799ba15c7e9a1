"""Gemma 4:

<|tool_call>call:weather{city:<|"|>Oslo<|"|>,days:3}<tool_call|>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.gemma_calls import GemmaCalls

_QUOTE = '<|"|>'

_CALLS = GemmaCalls(_QUOTE)
FORMAT = ToolFormat(
    name="gemma4",
    template_markers=("<|tool_call>", "<tool_call|>", _QUOTE),
    open_tags=("<|tool_call>",),
    close_tag="<tool_call|>",
    stray_tags=("<tool_call|>", _QUOTE),
    parse=_CALLS.parse,
    parse_partial=_CALLS.parse_partial,
    layout=Layout(
        begin="<|tool_call>",
        call="call:$NAME{$ARGUMENTS}",
        end="<tool_call|>",
        parameter="$KEY:$VALUE",
        quote=_QUOTE,
        parameter_separator=",",
    ),
    special_tokens=("<|tool_call>", "<tool_call|>", _QUOTE),
)
