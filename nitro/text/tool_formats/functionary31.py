"""Functionary 3.1, and Llama 3.1 where it is asked for this:

<function=weather>{"city": "Oslo"}</function>

A tool called `python` has its own form:

<|python_tag|>{"code": "print(1)"}
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls
from nitro.text.tools import Call, ToolsByName

_parse_named, _parse_partial = named_calls(r"\s*(?P<name>[^\s>]+)>\s*(?={)", r"\s*\Z")


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    is_python = body.lstrip().startswith("{") and "python" in tools
    return _parse_named(f"python>{body}" if is_python else body, tools)


FORMAT = ToolFormat(
    name="functionary31",
    template_markers=('<function=example_function_name>{"example_name": "example_value"}</function>',),
    open_tags=("<function=", "<|python_tag|>"),
    close_tag="</function>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(begin="<function=", call="$NAME>$ARGUMENTS", end="</function>"),
)
