"""MiniMax M2:

<minimax:tool_call>
<invoke name="weather">
<parameter name="city">Oslo</parameter>
</invoke>
</minimax:tool_call>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_TAGS = Tags(
    call=r'<invoke name="?(?P<name>[^">\n]+)"?>',
    key=r'<parameter name="?(?P<key>[^">\n]+)"?>',
    closes="</parameter>",
    end="</invoke>",
)
FORMAT = Format(
    name="minimax_m2",
    signs=("<minimax:tool_call>", "<invoke name="),
    opens=("<minimax:tool_call>",),
    closes="</minimax:tool_call>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    layout=Layout(
        begin="<minimax:tool_call>\n",
        call='<invoke name="$NAME">\n$ARGUMENTS</invoke>',
        end="\n</minimax:tool_call>",
        between="\n",
        parameter='<parameter name="$KEY">$VALUE</parameter>\n',
    ),
    marks=("<minimax:tool_call>", "</minimax:tool_call>"),
)
