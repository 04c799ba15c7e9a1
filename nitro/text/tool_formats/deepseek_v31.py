"""DeepSeek V3.1:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from nitro.text.tool_formats.deepseek_r1 import MARKS
from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

_parse, _seen = named(
    r"\s*<｜tool▁call▁begin｜>\s*(?P<name>[^\s<]+)\s*<｜tool▁sep｜>\s*(?={)", r"\s*(?:<｜tool▁call▁end｜>\s*|\Z)"
)

FORMAT = Format(
    name="deepseek_v31",
    signs=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
    opens=("<｜tool▁calls▁begin｜>",),
    closes="<｜tool▁calls▁end｜>",
    parse=_parse,
    seen=_seen,
    layout=Layout(
        begin="<｜tool▁calls▁begin｜>",
        call="<｜tool▁call▁begin｜>$NAME<｜tool▁sep｜>$ARGUMENTS<｜tool▁call▁end｜>",
        between="",
        end="<｜tool▁calls▁end｜>",
    ),
    marks=MARKS,
)
