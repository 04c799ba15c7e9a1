"""Llama 3.x, whose answer is the call, with nothing around it:

{"name": "weather", "parameters": {"city": "Oslo"}}
"""

import re

from nitro.text.formats import json_calls
from nitro.text.formats.format import Format, Layout

_MOST = 80  # characters of white space and braces, before it is told


def begins(text: str) -> bool | None:
    """Told by the first key: an answer in JSON that is no call need not be held back."""
    start = re.sub(r"\s+", "", text)
    for sign in ('{"name":', '{"type":"function"', '{"function":"'):
        if start.startswith(sign):
            return True
        if sign.startswith(start):
            return None if len(text) < _MOST else False
    return False


FORMAT = Format(
    name="llama3_json",
    signs=('{"name": function name, "parameters": dictionary of argument name and its value}',),
    opens=("<|python_tag|>",),
    closes="",
    parse=json_calls.parse,
    seen=json_calls.seen,
    begins=begins,
    layout=Layout(call='{"name": "$NAME", "parameters": $ARGUMENTS}', several=False),
    marks=("<|python_tag|>",),
)
