"""DeepSeek V3.2. Each argument says whether it is a text, written as it is, or JSON:

<｜DSML｜function_calls>
<｜DSML｜invoke name="weather">
<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜function_calls>

Some leave the outermost tags out, or write those of V4.
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls

_D = "｜DSML｜"
_INVOKE = f"<{_D}invoke name="
_OUTERMOST = ("function_calls", "tool_calls")
_TAGS = TaggedCalls(
    call=rf'(?:{_INVOKE})?"(?P<name>[^"\n]+)">',
    key=rf'<{_D}parameter name="(?P<key>[^"\n]+)"(?: string="(?P<text>true|false)")?>',
    close_tag=f"</{_D}parameter>",
    end=rf"</{_D}invoke>(?:\s*</{_D}(?:{'|'.join(_OUTERMOST)})>)?",
)


def within(name: str, tag: str) -> ToolFormat:
    """The format whose calls stand within this tag."""
    open_tag = f"<{_D}{tag}>"
    close_tag = f"</{_D}{tag}>"
    return ToolFormat(
        name=name,
        template_markers=(_D, f"{tag}>"),
        open_tags=(open_tag, *(f"<{_D}{other}>" for other in _OUTERMOST if other != tag), _INVOKE),
        close_tag=close_tag,
        parse=_TAGS.parse,
        parse_partial=_TAGS.parse_partial,
        layout=Layout(
            begin=f"{open_tag}\n",
            call=f'<{_D}invoke name="$NAME">\n$ARGUMENTS</{_D}invoke>\n',
            call_separator="",
            end=close_tag,
            parameter=f'<{_D}parameter name="$KEY" string="$TEXT">$VALUE</{_D}parameter>\n',
        ),
        special_tokens=(_D,),
    )


FORMAT = within("deepseek_v32", "function_calls")
