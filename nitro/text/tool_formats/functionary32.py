"""Functionary 3.2, where everything is said to somebody, a tool or `all`; the prompt has begun the first line:

>>>weather
{"city": "Oslo"}>>>clock
{}
"""

import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

_parse, _seen = named(r"\s*(?P<name>[A-Za-z0-9_.:-]+)\n\s*(?={)", r"\s*(?:>>>|\Z)")
_MOST = 130  # characters of a name, before it is told


def begins(text: str) -> bool | None:
    """With a name, and an object in the next line."""
    if re.match(r"[A-Za-z0-9_.:-]+\n\s*{", text):
        return True
    return None if len(text) < _MOST and re.fullmatch(r"[A-Za-z0-9_.:-]*(?<=.)(?:\n\s*)?|", text) else False


FORMAT = Format(
    name="functionary32",
    signs=(">>>${recipient}",),
    opens=(">>>",),
    closes="",
    parse=_parse,
    seen=_seen,
    begins=begins,
    layout=Layout(call="$NAME\n$ARGUMENTS", between=">>>", text="all\n"),
)
