"""Seed-OSS:

<seed:tool_call>
<function=weather>
<parameter=city>Oslo</parameter>
</function>
</seed:tool_call>

The outer tags may be left out.
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_TAGS = TaggedCalls(
    call=r"(?:<function=)?(?P<name>[^<>\n]+)>",
    key=r"<parameter=(?P<key>[^>\n]+)>",
    close_tag="</parameter>",
    end="</function>",
)
FORMAT = ToolFormat(
    name="seed_oss",
    template_markers=("<seed:tool_call>", "<function=", "<parameter="),
    open_tags=("<seed:tool_call>", "<function="),
    close_tag="</seed:tool_call>",
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<seed:tool_call>\n",
        call="<function=$NAME>\n$ARGUMENTS</function>",
        end="\n</seed:tool_call>",
        parameter="<parameter=$KEY>$VALUE</parameter>\n",
    ),
    special_tokens=("<seed:tool_call>", "</seed:tool_call>"),
)
