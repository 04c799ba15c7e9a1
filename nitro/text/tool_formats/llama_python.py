"""Llama 3.2 and 4 where they are asked for Python; the answer is nothing but a list:

[weather(city="Oslo", days=3), clock()]
"""

import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import python_calls

_MAX_CHARACTERS = 130  # of a name, before a text is taken for no call


def starts_call(text: str) -> bool | None:
    """Whether the text is a list whose first word is followed by a parenthesis."""
    start = text.lstrip()
    if not start:
        return None if len(text) < _MAX_CHARACTERS else False
    if re.match(r"\[\s*[A-Za-z_][\w.:-]*\s*\(", start):
        return True
    return None if len(text) < _MAX_CHARACTERS and re.fullmatch(r"\[\s*(?:[A-Za-z_][\w.:-]*\s*)?", start) else False


FORMAT = ToolFormat(
    name="llama_python",
    template_markers=("[func_name1(params_name1=params_value1",),
    open_tags=("<|python_start|>", "<|python_tag|>"),
    close_tag="",
    parse=python_calls.parse,
    parse_partial=python_calls.parse_partial,
    starts_call=starts_call,
    layout=Layout(
        begin="[",
        call="$NAME($ARGUMENTS)",
        call_separator=", ",
        end="]",
        parameter="$KEY=$JSON",
        parameter_separator=", ",
    ),
    special_tokens=("<|python_start|>", "<|python_tag|>"),
)
