"""FunctionGemma:

<start_function_call>call:weather{city:<escape>Oslo<escape>,days:3}<end_function_call>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.gemma_calls import GemmaCalls

_QUOTE = "<escape>"

_CALLS = GemmaCalls(_QUOTE)
FORMAT = Format(
    name="functiongemma",
    signs=("<start_function_call>", "<end_function_call>"),
    opens=("<start_function_call>",),
    closes="<end_function_call>",
    parse=_CALLS.parse,
    seen=_CALLS.seen,
    layout=Layout(
        begin="<start_function_call>",
        call="call:$NAME{$ARGUMENTS}",
        end="<end_function_call>",
        parameter="$KEY:$VALUE",
        quote=_QUOTE,
        separator=",",
    ),
    marks=("<start_function_call>", "<end_function_call>", _QUOTE),
)
