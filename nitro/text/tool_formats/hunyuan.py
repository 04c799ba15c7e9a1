"""Hunyuan (Hy3):

<tool_calls:opensource>
<tool_call:opensource>weather<tool_sep:opensource>
<arg_key:opensource>city</arg_key:opensource>
<arg_value:opensource>Oslo</arg_value:opensource>
</tool_call:opensource>
</tool_calls:opensource>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_CALL, _KEY, _VALUE = "tool_call:opensource", "arg_key:opensource", "arg_value:opensource"
_TAGS = TaggedCalls(
    call=rf"<{_CALL}>\s*(?P<name>[^<\s]+)\s*<tool_sep:opensource>",
    key=rf"<{_KEY}>(?P<key>[^<]+)</{_KEY}>\s*<{_VALUE}>",
    close_tag=f"</{_VALUE}>",
    end=f"</{_CALL}>",
)
FORMAT = ToolFormat(
    name="hunyuan",
    template_markers=("'<tool_calls{}>'", "'<arg_key{}>'", ":opensource"),
    open_tags=("<tool_calls:opensource>",),
    close_tag="</tool_calls:opensource>",
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<tool_calls:opensource>\n",
        call=f"<{_CALL}>$NAME<tool_sep:opensource>\n$ARGUMENTS</{_CALL}>",
        end="\n</tool_calls:opensource>",
        call_separator="\n",
        parameter=f"<{_KEY}>$KEY</{_KEY}>\n<{_VALUE}>$VALUE</{_VALUE}>\n",
    ),
    special_tokens=(
        *("<tool_calls:opensource>", "</tool_calls:opensource>", "<tool_sep:opensource>"),
        *(f"<{slash}{tag}>" for tag in (_CALL, _KEY, _VALUE) for slash in ("", "/")),
    ),
)
