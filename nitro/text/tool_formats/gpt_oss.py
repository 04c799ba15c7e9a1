"""gpt-oss (harmony), each call in a message to the tool; for the other channels see text/reasoning.py:

<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

# The channel may stand before the receiver or behind it.
_parse, _parse_partial = named_calls(
    r"\s*(?P<name>[^\s<{]+)\s*(?:<\|channel\|>\s*commentary)?\s*(?:<\|constrain\|>)?\s*\w*\s*<\|message\|>\s*(?={)",
    r"\s*\Z",
)

FORMAT = ToolFormat(
    name="gpt_oss",
    template_markers=("<|channel|>commentary", "<|start|>assistant to="),
    open_tags=("<|channel|>commentary to=functions.", "to=functions."),
    close_tag="<|call|>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin="<|channel|>commentary to=functions.",
        call="$NAME <|constrain|>json<|message|>$ARGUMENTS",
        end="<|call|>",
        parallel=False,
    ),
    special_tokens=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|call|>"),
)
