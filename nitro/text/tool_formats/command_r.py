"""Command R and R+. Whoever calls nothing calls `directly-answer`, and says the answer in a turn of its own:

Action:
```json
[
    {
        "tool_name": "weather",
        "parameters": {"city": "Oslo"}
    }
]```
"""

from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tool_formats.parsers import json_calls
from nitro.text.tools import Call, Tools

_NO_TOOL = ("directly-answer", "directly_answer")


def _parse(body: str, tools: Tools) -> list[Call]:
    return [call for call in json_calls.parse(body, tools) if call.name in tools or call.name not in _NO_TOOL]


FORMAT = Format(
    name="command_r",
    signs=("Action:", "```json\\n[\\n", "tool_name"),
    opens=("Action:\n```json\n", "Action: ```json\n"),
    closes="```",
    parse=_parse,
    seen=json_calls.seen,
    layout=Layout(
        begin="Action:\n```json\n[\n",
        call='    {\n        "tool_name": "$NAME",\n        "parameters": $ARGUMENTS\n    }',
        between=",\n",
        end="\n]```",
    ),
)
