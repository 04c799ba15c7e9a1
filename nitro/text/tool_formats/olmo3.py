"""Olmo 3, in Python, a call on each line:

<function_calls>weather(city="Oslo", days=3)
clock()</function_calls>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import python_calls

FORMAT = Format(
    name="olmo3",
    signs=("<function_calls>",),
    opens=("<function_calls>",),
    closes="</function_calls>",
    parse=python_calls.parse,
    seen=python_calls.seen,
    layout=Layout(
        begin="<function_calls>",
        call="$NAME($ARGUMENTS)",
        between="\n",
        end="</function_calls>",
        parameter="$KEY=$JSON",
        separator=", ",
    ),
    marks=("<function_calls>", "</function_calls>"),
)
