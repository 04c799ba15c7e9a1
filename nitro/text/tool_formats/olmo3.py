"""Olmo 3, in Python, a call on each line:

<function_calls>weather(city="Oslo", days=3)
clock()</function_calls>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import python_calls

FORMAT = ToolFormat(
    name="olmo3",
    template_markers=("<function_calls>",),
    open_tags=("<function_calls>",),
    close_tag="</function_calls>",
    parse=python_calls.parse,
    parse_partial=python_calls.parse_partial,
    layout=Layout(
        begin="<function_calls>",
        call="$NAME($ARGUMENTS)",
        call_separator="\n",
        end="</function_calls>",
        parameter="$KEY=$JSON",
        parameter_separator=", ",
    ),
    special_tokens=("<function_calls>", "</function_calls>"),
)
