"""DeepSeek R1 and its distilled models:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather
```json
{"city": "Oslo"}
```<｜tool▁call▁end｜>
<｜tool▁call▁begin｜>…<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

_parse, _seen = named(
    r"\s*<｜tool▁call▁begin｜>\s*\w+\s*<｜tool▁sep｜>\s*(?P<name>[^\s<]+)\s*```(?:json)?\s*(?={)",
    r"\s*```\s*(?:<｜tool▁call▁end｜>\s*|\Z)",
)
MARKS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)

FORMAT = Format(
    name="deepseek_r1",
    signs=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"),
    opens=("<｜tool▁calls▁begin｜>",),
    closes="<｜tool▁calls▁end｜>",
    parse=_parse,
    seen=_seen,
    layout=Layout(
        begin="<｜tool▁calls▁begin｜>",
        call="<｜tool▁call▁begin｜>function<｜tool▁sep｜>$NAME\n```json\n$ARGUMENTS\n```<｜tool▁call▁end｜>",
        between="\n",
        end="<｜tool▁calls▁end｜>",
    ),
    marks=MARKS,
)
