"""Phi-4 mini, which sometimes writes the word `functools` instead of the marks:

<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls

Message = Mapping[str, Any]


def given(messages: Sequence[Message], tools: Sequence[Message]) -> list[Message]:
    """Its templates look for the tools, as a text, in the system message."""
    told = json.dumps([tool.get("function", tool) for tool in tools], ensure_ascii=False)
    first = messages[0] if messages[0]["role"] == "system" else {"role": "system", "content": ""}
    return [{**first, "tools": told}, *messages[first is messages[0] :]]


FORMAT = Format(
    name="phi4",
    signs=("<|tool|>", "<|/tool|>", "message['tools']"),
    opens=("<|tool_call|>", "functools"),
    closes="<|/tool_call|>",
    parse=json_calls.parse,
    seen=json_calls.seen,
    layout=Layout(
        begin="<|tool_call|>[",
        call='{"name": "$NAME", "arguments": $ARGUMENTS}',
        between=", ",
        end="]<|/tool_call|>",
    ),
    marks=("<|tool_call|>", "<|/tool_call|>"),
    given=given,
)
