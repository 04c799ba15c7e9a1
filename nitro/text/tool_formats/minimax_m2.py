"""MiniMax M2:

<minimax:tool_call>
<invoke name="weather">
<parameter name="city">Oslo</parameter>
</invoke>
</minimax:tool_call>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_TAGS = TaggedCalls(
    call=r'<invoke name="?(?P<name>[^">\n]+)"?>',
    key=r'<parameter name="?(?P<key>[^">\n]+)"?>',
    close_tag="</parameter>",
    end="</invoke>",
)
FORMAT = ToolFormat(
    name="minimax_m2",
    template_markers=("<minimax:tool_call>", "<invoke name="),
    open_tags=("<minimax:tool_call>",),
    close_tag="</minimax:tool_call>",
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<minimax:tool_call>\n",
        call='<invoke name="$NAME">\n$ARGUMENTS</invoke>',
        end="\n</minimax:tool_call>",
        call_separator="\n",
        parameter='<parameter name="$KEY">$VALUE</parameter>\n',
    ),
    special_tokens=("<minimax:tool_call>", "</minimax:tool_call>"),
)
