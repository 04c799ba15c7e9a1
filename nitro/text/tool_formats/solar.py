"""Solar, whose model names its calls itself:

<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>weather<|tool_call:args|>{"city": "Oslo"}\\
<|tool_call:end|><|calls|>
"""

import re

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers.named_calls import named

_BEGIN, _NAME, _ARGUMENTS, _END = (f"<|tool_call:{part}|>" for part in ("begin", "name", "args", "end"))
_parse, _seen = named(
    rf"\s*{re.escape(_BEGIN)}[^<]*{re.escape(_NAME)}(?P<name>[^<]+){re.escape(_ARGUMENTS)}\s*",
    rf"\s*(?:{re.escape(_END)}\s*|$)",
)
FORMAT = Format(
    name="solar",
    signs=("<|tool_calls|>", _NAME, _ARGUMENTS),
    opens=("<|tool_calls|>",),
    closes="<|calls|>",
    parse=_parse,
    seen=_seen,
    layout=Layout(
        begin="<|tool_calls|>",
        call=f"{_BEGIN}$ID{_NAME}$NAME{_ARGUMENTS}$ARGUMENTS{_END}",
        end="<|calls|>",
        between="",
    ),
    marks=("<|tool_calls|>", "<|calls|>", _BEGIN, _NAME, _ARGUMENTS, _END),
)
