"""Kimi K2, whose calls are numbered through the conversation:

<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "Oslo"}\\
<|tool_call_end|><|tool_calls_section_end|>

The marks of a section, and the end of a call, may be left out or come twice.
"""

import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

_BEGIN, _ARGUMENTS, _END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_SECTION, _SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_parse, _parse_partial = named_calls(
    rf"\s*(?:{re.escape(_SECTION)}\s*)*(?:{re.escape(_BEGIN)})?\s*(?:functions[.:])?(?P<name>[^<\s]+?)(?::\d+)?\s*"
    rf"{re.escape(_ARGUMENTS)}\s*",
    rf"\s*(?:(?:{re.escape(_END)}\s*)+|(?={re.escape(_BEGIN)})|$)",
)


def call_id(name: str, number: int) -> str:
    """The id as the model itself writes it, the function's name and the call's number."""
    return f"functions.{name}:{number}"


FORMAT = ToolFormat(
    name="kimi_k2",
    template_markers=("<|tool_calls_section_begin|>", _ARGUMENTS),
    open_tags=(_SECTION, _BEGIN),
    close_tag=_SECTION_END,
    stray_tags=(_SECTION_END, _END),
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin=_SECTION,
        call=f"{_BEGIN}functions.$NAME:$INDEX{_ARGUMENTS}$ARGUMENTS{_END}",
        end=_SECTION_END,
        call_separator="",
    ),
    special_tokens=(_SECTION, _SECTION_END, _BEGIN, _ARGUMENTS, _END),
    call_id=call_id,
)
