"""Solar, whose model names its calls itself:

<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>weather<|tool_call:args|>{"city": "Oslo"}\\
<|tool_call:end|><|calls|>
"""

import re

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls

_BEGIN, _NAME, _ARGUMENTS, _END = (f"<|tool_call:{part}|>" for part in ("begin", "name", "args", "end"))
_parse, _parse_partial = named_calls(
    rf"\s*{re.escape(_BEGIN)}[^<]*{re.escape(_NAME)}(?P<name>[^<]+){re.escape(_ARGUMENTS)}\s*",
    rf"\s*(?:{re.escape(_END)}\s*|$)",
)
FORMAT = ToolFormat(
    name="solar",
    template_markers=("<|tool_calls|>", _NAME, _ARGUMENTS),
    open_tags=("<|tool_calls|>",),
    close_tag="<|calls|>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin="<|tool_calls|>",
        call=f"{_BEGIN}$ID{_NAME}$NAME{_ARGUMENTS}$ARGUMENTS{_END}",
        end="<|calls|>",
        call_separator="",
    ),
    special_tokens=("<|tool_calls|>", "<|calls|>", _BEGIN, _NAME, _ARGUMENTS, _END),
)
