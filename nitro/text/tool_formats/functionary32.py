"""Functionary 3.2, where all text is addressed to a tool or to `all`; the prompt has begun the first line:

>>>weather
{"city": "Oslo"}>>>clock
{}
"""

import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

_parse, _parse_partial = named_calls(r"\s*(?P<name>[A-Za-z0-9_.:-]+)\n\s*(?={)", r"\s*(?:>>>|\Z)")
_MAX_CHARACTERS = 130  # of a name, before a text is taken for no call


def starts_call(text: str) -> bool | None:
    """Whether the text is a name, with an object in the next line."""
    if re.match(r"[A-Za-z0-9_.:-]+\n\s*{", text):
        return True
    return None if len(text) < _MAX_CHARACTERS and re.fullmatch(r"[A-Za-z0-9_.:-]*(?<=.)(?:\n\s*)?|", text) else False


FORMAT = ToolFormat(
    name="functionary32",
    template_markers=(">>>${recipient}",),
    open_tags=(">>>",),
    close_tag="",
    parse=_parse,
    parse_partial=_parse_partial,
    starts_call=starts_call,
    layout=Layout(call="$NAME\n$ARGUMENTS", call_separator=">>>", answer_prefix="all\n"),
)
