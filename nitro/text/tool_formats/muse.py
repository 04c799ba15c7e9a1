"""Muse, each call in a message to the tool:

<atem:function_calls>
<atem:invoke name="weather">
<atem:parameter name="city">Oslo</atem:parameter>
</atem:invoke>
</atem:function_calls>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_TAGS = Tags(
    call=r'<atem:invoke\b[^>\n]*? name="(?P<name>[^">\n]+)"[^>\n]*>',
    key=r'<atem:parameter\b[^>\n]*? name="(?P<key>[^">\n]+)"[^>\n]*>',
    closes="</atem:parameter>",
    end="</atem:invoke>",
)
FORMAT = Format(
    name="muse",
    signs=("<atem:function_calls>", "<atem:invoke name="),
    opens=("<atem:function_calls>",),
    closes="</atem:function_calls>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    layout=Layout(
        begin="<atem:function_calls>\n",
        call='<atem:invoke name="$NAME">\n$ARGUMENTS</atem:invoke>',
        end="\n</atem:function_calls>",
        between="\n",
        parameter='<atem:parameter name="$KEY">$VALUE</atem:parameter>\n',
    ),
)
