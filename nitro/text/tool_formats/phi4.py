"""Phi-4 mini, which sometimes writes the word `functools` instead of the tags:

<|tool_call|>[{"name": "weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>
"""

import json
from collections.abc import Sequence

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tools import ChatMessage


def inject_tools(messages: Sequence[ChatMessage], tools: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Put the tools, as a text, into the system message: its templates look for them there."""
    text = json.dumps([tool.get("function", tool) for tool in tools], ensure_ascii=False)
    first = messages[0] if messages[0]["role"] == "system" else {"role": "system", "content": ""}
    return [{**first, "tools": text}, *messages[first is messages[0] :]]


FORMAT = ToolFormat(
    name="phi4",
    template_markers=("<|tool|>", "<|/tool|>", "message['tools']"),
    open_tags=("<|tool_call|>", "functools"),
    close_tag="<|/tool_call|>",
    parse=json_calls.parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="<|tool_call|>[",
        call='{"name": "$NAME", "arguments": $ARGUMENTS}',
        call_separator=", ",
        end="]<|/tool_call|>",
    ),
    special_tokens=("<|tool_call|>", "<|/tool_call|>"),
    inject_tools=inject_tools,
)
