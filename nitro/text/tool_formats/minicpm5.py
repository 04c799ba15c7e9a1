"""MiniCPM 5, which puts texts with "<", "&" or line breaks into CDATA:

<function name="weather"><param name="city">Oslo</param></function>
"""

import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_CDATA = re.compile(r"\s*<!\[CDATA\[(.*)\]\]>\s*", re.DOTALL)


def _decode(text: str) -> str:
    found = _CDATA.fullmatch(text)
    return found[1] if found else text


_TAGS = TaggedCalls(
    call=r'(?P<name>[^"\n]+)">',
    key=r'<param name="(?P<key>[^"\n]+)">',
    close_tag="</param>",
    decode=_decode,
)
FORMAT = ToolFormat(
    name="minicpm5",
    template_markers=('<function name="', '<param name="'),
    open_tags=('<function name="',),
    close_tag="</function>",
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    close_required=True,
    layout=Layout(
        begin='<function name="',
        call='$NAME">$ARGUMENTS',
        end="</function>",
        parameter='<param name="$KEY">$VALUE</param>',
    ),
    special_tokens=("<function", "</function>", "<param", "</param>", "<![CDATA[", "]]>"),
)
