"""Functionary 3.1, and Llama 3.1 where it is asked for this:

<function=weather>{"city": "Oslo"}</function>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

_parse, _parse_partial = named_calls(r"\s*(?P<name>[^\s>]+)>\s*(?={)", r"\s*\Z")

FORMAT = ToolFormat(
    name="functionary31",
    template_markers=('<function=example_function_name>{"example_name": "example_value"}</function>',),
    open_tags=("<function=",),
    close_tag="</function>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(begin="<function=", call="$NAME>$ARGUMENTS", end="</function>"),
)
