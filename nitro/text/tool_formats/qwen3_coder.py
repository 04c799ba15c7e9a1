"""Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5:

<tool_call>
<function=weather>
<parameter=city>
Oslo
</parameter>
</function>
</tool_call>

Some leave the first line out.
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags, unwrapped

_TAGS = Tags(
    call=r"(?:<function=)?(?P<name>[^<>\n]+)>",
    key=r"<parameter=(?P<key>[^>\n]+)>",
    closes="</parameter>",
    end="</function>",
    text=unwrapped,
)
FORMAT = Format(
    name="qwen3_coder",
    signs=("<tool_call>", "<function=", "<parameter="),
    opens=("<tool_call>", "<function="),
    closes="</tool_call>",
    parse=_TAGS.parse,
    seen=_TAGS.seen,
    layout=Layout(
        begin="<tool_call>\n",
        call="<function=$NAME>\n$ARGUMENTS</function>",
        end="\n</tool_call>",
        parameter="<parameter=$KEY>\n$VALUE\n</parameter>\n",
    ),
    marks=("<tool_call>", "</tool_call>"),
)
