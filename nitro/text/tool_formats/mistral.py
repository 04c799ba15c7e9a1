"""Mistral since Small 3.2 (Devstral, Ministral, Magistral), some with an id between name and arguments:

[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]clock[CALL_ID]a1b2c3d4e[ARGS]{}

The text of some has no [ARGS].
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tool_formats.parsers.named_calls import named_calls
from nitro.text.tools import Call, ToolsByName

_parse, _parse_partial = named_calls(
    r"\s*(?P<name>[^\s\[{]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?(?={)", r"\s*(?:\[TOOL_CALLS\](?=\s*\w)|\Z)"
)


def parse(body: str, tools: ToolsByName) -> list[Call]:
    """Read calls of both generations: files have templates of one with models of the other. Raises Malformed."""
    read = json_calls.parse if body.lstrip().startswith(("[", "{")) else _parse
    return read(body, tools)


FORMAT = ToolFormat(
    name="mistral",
    template_markers=("[TOOL_CALLS]", "[ARGS]"),
    open_tags=("[TOOL_CALLS]",),
    close_tag="",
    parse=parse,
    parse_partial=_parse_partial,
    layout=Layout(begin="[TOOL_CALLS]", call="$NAME[ARGS]$ARGUMENTS", call_separator="[TOOL_CALLS]"),
    special_tokens=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
)
