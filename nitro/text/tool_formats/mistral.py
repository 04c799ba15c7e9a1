"""Mistral since Small 3.2 (Devstral, Ministral, Magistral), some with an id between name and arguments:

[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]clock[CALL_ID]a1b2c3d4e[ARGS]{}
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tool_formats.parsers.named_calls import named
from nitro.text.tools import Call, Tools

_parse, _seen = named(
    r"\s*(?P<name>[^\s\[]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?\[ARGS\]\s*(?={)", r"\s*(?:\[TOOL_CALLS\](?=\s*\w)|\Z)"
)


def parse(body: str, tools: Tools) -> list[Call]:
    """Of both generations, since files have templates of one with models of the other."""
    read = json_calls.parse if body.lstrip().startswith("[") else _parse
    return read(body, tools)


FORMAT = Format(
    name="mistral",
    signs=("[TOOL_CALLS]", "[ARGS]"),
    opens=("[TOOL_CALLS]",),
    closes="",
    parse=parse,
    seen=_seen,
    layout=Layout(begin="[TOOL_CALLS]", call="$NAME[ARGS]$ARGUMENTS", between="[TOOL_CALLS]"),
    marks=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
)
