"""LFM2, in Python:

<|tool_call_start|>[weather(city="Oslo", days=3), clock()]<|tool_call_end|>
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls, python_calls
from nitro.text.tools import Call, Tools


def _parse(body: str, tools: Tools) -> list[Call]:
    """JSON, too, which a system message may ask for."""
    read = json_calls.parse if body.lstrip(" \n[").startswith("{") else python_calls.parse
    return read(body, tools)


FORMAT = Format(
    name="lfm2",
    signs=('"List of tools: ',),
    opens=("<|tool_call_start|>",),
    closes="<|tool_call_end|>",
    parse=_parse,
    seen=python_calls.seen,
    layout=Layout(
        begin="<|tool_call_start|>[",
        call="$NAME($ARGUMENTS)",
        between=", ",
        end="]<|tool_call_end|>",
        parameter="$KEY=$JSON",
        separator=", ",
    ),
    marks=("<|tool_call_start|>", "<|tool_call_end|>"),
)
