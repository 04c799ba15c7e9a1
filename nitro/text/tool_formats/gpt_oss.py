"""gpt-oss (harmony), each call in a message to the tool; the other channels see text/reasoning.py:

<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

# The channel may stand before the receiver or behind it.
_parse, _seen = named(
    r"\s*(?P<name>[^\s<{]+)\s*(?:<\|channel\|>\s*commentary)?\s*(?:<\|constrain\|>)?\s*\w*\s*<\|message\|>\s*(?={)",
    r"\s*\Z",
)

FORMAT = Format(
    name="gpt_oss",
    signs=("<|channel|>commentary", "<|start|>assistant to="),
    opens=("<|channel|>commentary to=functions.", "to=functions."),
    closes="<|call|>",
    parse=_parse,
    seen=_seen,
    layout=Layout(
        begin="<|channel|>commentary to=functions.",
        call="$NAME <|constrain|>json<|message|>$ARGUMENTS",
        end="<|call|>",
        several=False,
    ),
    marks=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|call|>"),
)
