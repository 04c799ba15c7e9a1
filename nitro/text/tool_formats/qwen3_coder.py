"""Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5:

<tool_call>
<function=weather>
<parameter=city>
Oslo
</parameter>
</function>
</tool_call>

Some leave the first line out, and some write JSON between the outer tags.
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls, without_line_breaks
from nitro.text.tools import Call, ToolsByName

_TAGS = TaggedCalls(
    call=r"(?:<function=)?(?P<name>[^<>\n]+)>",
    key=r"<parameter=(?P<key>[^>\n]+)>",
    close_tag="</parameter>",
    end="</function>",
    decode=without_line_breaks,
)


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    read = json_calls.parse if body.lstrip().startswith(("{", "[")) else _TAGS.parse
    return read(body, tools)


FORMAT = ToolFormat(
    name="qwen3_coder",
    template_markers=("<tool_call>", "<function=", "<parameter="),
    open_tags=("<tool_call>", "<function="),
    close_tag="</tool_call>",
    parse=_parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<tool_call>\n",
        call="<function=$NAME>\n$ARGUMENTS</function>",
        end="\n</tool_call>",
        parameter="<parameter=$KEY>\n$VALUE\n</parameter>\n",
    ),
    special_tokens=("<tool_call>", "</tool_call>"),
)
