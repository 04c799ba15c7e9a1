"""FunctionGemma:

<start_function_call>call:weather{city:<escape>Oslo<escape>,days:3}<end_function_call>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.gemma_calls import GemmaCalls

_QUOTE = "<escape>"

_CALLS = GemmaCalls(_QUOTE)
FORMAT = ToolFormat(
    name="functiongemma",
    template_markers=("<start_function_call>", "<end_function_call>"),
    open_tags=("<start_function_call>",),
    close_tag="<end_function_call>",
    stray_tags=("<end_function_call>",),
    parse=_CALLS.parse,
    parse_partial=_CALLS.parse_partial,
    layout=Layout(
        begin="<start_function_call>",
        call="call:$NAME{$ARGUMENTS}",
        end="<end_function_call>",
        parameter="$KEY:$VALUE",
        quote=_QUOTE,
        parameter_separator=",",
    ),
    special_tokens=("<start_function_call>", "<end_function_call>", _QUOTE),
)
