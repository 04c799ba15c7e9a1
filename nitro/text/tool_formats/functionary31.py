"""Functionary 3.1, and Llama 3.1 where it is asked for this:

<function=weather>{"city": "Oslo"}</function>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

_parse, _seen = named(r"\s*(?P<name>[^\s>]+)>\s*(?={)", r"\s*\Z")

FORMAT = Format(
    name="functionary31",
    signs=('<function=example_function_name>{"example_name": "example_value"}</function>',),
    opens=("<function=",),
    closes="</function>",
    parse=_parse,
    seen=_seen,
    layout=Layout(begin="<function=", call="$NAME>$ARGUMENTS", end="</function>"),
)
