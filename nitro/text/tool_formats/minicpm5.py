"""MiniCPM 5, which puts texts with "<", "&" or line breaks into CDATA:

<function name="weather"><param name="city">Oslo</param></function>
"""

import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_CDATA = re.compile(r"\s*<!\[CDATA\[(.*)\]\]>\s*", re.DOTALL)


def _said(text: str) -> str:
    found = _CDATA.fullmatch(text)
    return found[1] if found else text


_TAGS = Tags(
    call=r'(?P<name>[^"\n]+)">',
    key=r'<param name="(?P<key>[^"\n]+)">',
    closes="</param>",
    text=_said,
)
FORMAT = Format(
    name="minicpm5",
    signs=('<function name="', '<param name="'),
    opens=('<function name="',),
    closes="</function>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    ends=True,
    layout=Layout(
        begin='<function name="',
        call='$NAME">$ARGUMENTS',
        end="</function>",
        parameter='<param name="$KEY">$VALUE</param>',
    ),
    marks=("<function", "</function>", "<param", "</param>", "<![CDATA[", "]]>"),
)
