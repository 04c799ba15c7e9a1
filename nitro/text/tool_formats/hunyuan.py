"""Hunyuan (Hy3):

<tool_calls:opensource>
<tool_call:opensource>weather<tool_sep:opensource>
<arg_key:opensource>city</arg_key:opensource>
<arg_value:opensource>Oslo</arg_value:opensource>
</tool_call:opensource>
</tool_calls:opensource>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_CALL, _KEY, _VALUE = "tool_call:opensource", "arg_key:opensource", "arg_value:opensource"
_TAGS = Tags(
    call=rf"<{_CALL}>\s*(?P<name>[^<\s]+)\s*<tool_sep:opensource>",
    key=rf"<{_KEY}>(?P<key>[^<]+)</{_KEY}>\s*<{_VALUE}>",
    closes=f"</{_VALUE}>",
    end=f"</{_CALL}>",
)
FORMAT = Format(
    name="hunyuan",
    signs=("'<tool_calls{}>'", "'<arg_key{}>'", ":opensource"),
    opens=("<tool_calls:opensource>",),
    closes="</tool_calls:opensource>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    layout=Layout(
        begin="<tool_calls:opensource>\n",
        call=f"<{_CALL}>$NAME<tool_sep:opensource>\n$ARGUMENTS</{_CALL}>",
        end="\n</tool_calls:opensource>",
        between="\n",
        parameter=f"<{_KEY}>$KEY</{_KEY}>\n<{_VALUE}>$VALUE</{_VALUE}>\n",
    ),
    marks=(
        *("<tool_calls:opensource>", "</tool_calls:opensource>", "<tool_sep:opensource>"),
        *(f"<{slash}{tag}>" for tag in (_CALL, _KEY, _VALUE) for slash in ("", "/")),
    ),
)
