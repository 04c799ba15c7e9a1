"""Kimi K2, whose calls are numbered through the conversation:

<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "Oslo"}\\
<|tool_call_end|><|tool_calls_section_end|>
"""

import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

_BEGIN, _ARGUMENTS, _END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_parse, _seen = named(
    rf"\s*{re.escape(_BEGIN)}\s*(?:functions\.)?(?P<name>[^<\s]+?)(?::\d+)?\s*{re.escape(_ARGUMENTS)}\s*",
    rf"\s*(?:{re.escape(_END)}\s*|$)",
)


def call_id(name: str, number: int) -> str:
    return f"functions.{name}:{number}"


FORMAT = Format(
    name="kimi_k2",
    signs=("<|tool_calls_section_begin|>", _ARGUMENTS),
    opens=("<|tool_calls_section_begin|>",),
    closes="<|tool_calls_section_end|>",
    parse=_parse,
    seen=_seen,
    layout=Layout(
        begin="<|tool_calls_section_begin|>",
        call=f"{_BEGIN}functions.$NAME:$INDEX{_ARGUMENTS}$ARGUMENTS{_END}",
        end="<|tool_calls_section_end|>",
        between="",
    ),
    marks=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", _BEGIN, _ARGUMENTS, _END),
    call_id=call_id,
)
