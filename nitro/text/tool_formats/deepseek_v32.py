"""DeepSeek V3.2. Each argument says whether it is a text, written as it is, or JSON:

<｜DSML｜function_calls>
<｜DSML｜invoke name="weather">
<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜function_calls>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.tagged_calls import Tags

_D = "｜DSML｜"
_TAGS = Tags(
    call=rf'<{_D}invoke name="(?P<name>[^"\n]+)">',
    key=rf'<{_D}parameter name="(?P<key>[^"\n]+)"(?: string="(?P<text>true|false)")?>',
    closes=f"</{_D}parameter>",
    end=f"</{_D}invoke>",
)


def within(name: str, tag: str) -> Format:
    """The format whose calls stand within this tag."""
    opens, closes = f"<{_D}{tag}>", f"</{_D}{tag}>"
    return Format(
        name=name,
        signs=(_D, f"{tag}>"),
        opens=(opens,),
        closes=closes,
        parse=_TAGS.parse,
        seen=_TAGS.seen,
        layout=Layout(
            begin=f"{opens}\n",
            call=f'<{_D}invoke name="$NAME">\n$ARGUMENTS</{_D}invoke>\n',
            between="",
            end=closes,
            parameter=f'<{_D}parameter name="$KEY" string="$TEXT">$VALUE</{_D}parameter>\n',
        ),
        marks=(_D,),
    )


FORMAT = within("deepseek_v32", "function_calls")
