"""LFM2, in Python:

<|tool_call_start|>[weather(city="Oslo", days=3), clock()]<|tool_call_end|>
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls, python_calls
from nitro.text.tools import Call, ToolsByName


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    """Reads JSON, too, which a system message may ask for."""
    read = json_calls.parse if body.lstrip(" \n[").startswith("{") else python_calls.parse
    return read(body, tools)


FORMAT = ToolFormat(
    name="lfm2",
    template_markers=('"List of tools: ',),
    open_tags=("<|tool_call_start|>",),
    close_tag="<|tool_call_end|>",
    parse=_parse,
    parse_partial=python_calls.parse_partial,
    layout=Layout(
        begin="<|tool_call_start|>[",
        call="$NAME($ARGUMENTS)",
        call_separator=", ",
        end="]<|tool_call_end|>",
        parameter="$KEY=$JSON",
        parameter_separator=", ",
    ),
    special_tokens=("<|tool_call_start|>", "<|tool_call_end|>"),
)
