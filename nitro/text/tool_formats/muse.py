"""Muse, each call in a message to the tool:

<atem:function_calls>
<atem:invoke name="weather">
<atem:parameter name="city">Oslo</atem:parameter>
</atem:invoke>
</atem:function_calls>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_TAGS = TaggedCalls(
    call=r'<atem:invoke\b[^>\n]*? name="(?P<name>[^">\n]+)"[^>\n]*>',
    key=r'<atem:parameter\b[^>\n]*? name="(?P<key>[^">\n]+)"[^>\n]*>',
    close_tag="</atem:parameter>",
    end="</atem:invoke>",
)
FORMAT = ToolFormat(
    name="muse",
    template_markers=("<atem:function_calls>", "<atem:invoke name="),
    open_tags=("<atem:function_calls>",),
    close_tag="</atem:function_calls>",
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<atem:function_calls>\n",
        call='<atem:invoke name="$NAME">\n$ARGUMENTS</atem:invoke>',
        end="\n</atem:function_calls>",
        call_separator="\n",
        parameter='<atem:parameter name="$KEY">$VALUE</atem:parameter>\n',
    ),
)
