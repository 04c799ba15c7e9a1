"""Command R and R+. A model that calls no tool calls `directly-answer`, and answers in another turn:

Action:
```json
[
    {
        "tool_name": "weather",
        "parameters": {"city": "Oslo"}
    }
]```
"""

from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tools import Call, ToolsByName

_NO_TOOL = ("directly-answer", "directly_answer")


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    return [call for call in json_calls.parse(body, tools) if call.name in tools or call.name not in _NO_TOOL]


FORMAT = ToolFormat(
    name="command_r",
    template_markers=("Action:", "```json\\n[\\n", "tool_name"),
    open_tags=("Action:\n```json\n", "Action: ```json\n"),
    close_tag="```",
    parse=_parse,
    parse_partial=json_calls.parse_partial,
    layout=Layout(
        begin="Action:\n```json\n[\n",
        call='    {\n        "tool_name": "$NAME",\n        "parameters": $ARGUMENTS\n    }',
        call_separator=",\n",
        end="\n]```",
    ),
)
