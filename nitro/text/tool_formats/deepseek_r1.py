"""DeepSeek R1 and its distilled models:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather
```json
{"city": "Oslo"}
```<｜tool▁call▁end｜>
<｜tool▁call▁begin｜>…<｜tool▁call▁end｜><｜tool▁calls▁end｜>

The distilled models spell these tags in several ways, and leave out those that open or close.
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

_GAP = r"(?:▁| |_|\\_)"
_parse, _parse_partial = named_calls(
    rf"\s*(?:<｜tool{_GAP}call{_GAP}begin｜>)?\s*\w+\s*<｜tool{_GAP}sep｜>\s*(?P<name>[^\s<]+)\s*```(?:json)?\s*(?={{)",
    rf"\s*```\s*(?:<｜tool{_GAP}call{_GAP}end｜>\s*|\Z)(?:<｜tool{_GAP}calls{_GAP}end｜>\s*)?",
)
SPECIAL_TOKENS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
)

FORMAT = ToolFormat(
    name="deepseek_r1",
    template_markers=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"),
    open_tags=(
        "<｜tool▁calls▁begin｜>",
        "<｜tool calls begin｜>",
        "<｜tool_calls_begin｜>",
        "<｜tool\\_calls\\_begin｜>",
        "<｜tool▁calls｜>",
        "<｜tool▁call▁begin｜>",
    ),
    close_tag="<｜tool▁calls▁end｜>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin="<｜tool▁calls▁begin｜>",
        call="<｜tool▁call▁begin｜>function<｜tool▁sep｜>$NAME\n```json\n$ARGUMENTS\n```<｜tool▁call▁end｜>",
        call_separator="\n",
        end="<｜tool▁calls▁end｜>",
    ),
    special_tokens=SPECIAL_TOKENS,
)
