"""Llama 3.2 and 4 where they are asked for Python, the answer being nothing but a list:

[weather(city="Oslo", days=3), clock()]
"""

import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import python_calls

_MOST = 130  # characters of a name, before it is told


def begins(text: str) -> bool | None:
    """A list whose first word is followed by a parenthesis."""
    start = text.lstrip()
    if not start:
        return None if len(text) < _MOST else False
    if re.match(r"\[\s*[A-Za-z_][\w.:-]*\s*\(", start):
        return True
    return None if len(text) < _MOST and re.fullmatch(r"\[\s*(?:[A-Za-z_][\w.:-]*\s*)?", start) else False


FORMAT = Format(
    name="llama_python",
    signs=("[func_name1(params_name1=params_value1",),
    opens=("<|python_start|>", "<|python_tag|>"),
    closes="",
    parse=python_calls.parse,
    seen=python_calls.seen,
    begins=begins,
    layout=Layout(begin="[", call="$NAME($ARGUMENTS)", between=", ", end="]", parameter="$KEY=$JSON", separator=", "),
    marks=("<|python_start|>", "<|python_tag|>"),
)
