"""Seed-OSS:

<seed:tool_call>
<function=weather>
<parameter=city>Oslo</parameter>
</function>
</seed:tool_call>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_TAGS = Tags(
    call=r"<function=(?P<name>[^>\n]+)>",
    key=r"<parameter=(?P<key>[^>\n]+)>",
    closes="</parameter>",
    end="</function>",
)
FORMAT = Format(
    name="seed_oss",
    signs=("<seed:tool_call>", "<function=", "<parameter="),
    opens=("<seed:tool_call>",),
    closes="</seed:tool_call>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    layout=Layout(
        begin="<seed:tool_call>\n",
        call="<function=$NAME>\n$ARGUMENTS</function>",
        end="\n</seed:tool_call>",
        parameter="<parameter=$KEY>$VALUE</parameter>\n",
    ),
    marks=("<seed:tool_call>", "</seed:tool_call>"),
)
