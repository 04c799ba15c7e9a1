"""DeepSeek V3.1:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>

The outer tags may be left out.
"""

from nitro.text.tool_formats.deepseek_r1 import SPECIAL_TOKENS
from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

_parse, _parse_partial = named_calls(
    r"\s*(?:<｜tool▁call▁begin｜>)?\s*(?P<name>[^\s<]+)\s*<｜tool▁sep｜>\s*(?={)", r"\s*(?:<｜tool▁call▁end｜>\s*|\Z)"
)

FORMAT = ToolFormat(
    name="deepseek_v31",
    template_markers=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
    open_tags=("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
    close_tag="<｜tool▁calls▁end｜>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin="<｜tool▁calls▁begin｜>",
        call="<｜tool▁call▁begin｜>$NAME<｜tool▁sep｜>$ARGUMENTS<｜tool▁call▁end｜>",
        call_separator="",
        end="<｜tool▁calls▁end｜>",
    ),
    special_tokens=SPECIAL_TOKENS,
)
