"""For models whose template knows no tools: they are told of them in a system message, and asked for this:

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nitro.text.formats import hermes

FORMAT = replace(hermes.FORMAT, name="generic", signs=("a template never says this",))

_TOLD = """\
You can call these functions, described by JSON schemas:
{tools}

To call one, write nothing but its name and its arguments as a JSON object, between these marks:
<tool_call>
{{"name": "NAME", "arguments": {{…}}}}
</tool_call>
Its result is told to you afterwards. Where no function helps, just answer."""

Message = Mapping[str, Any]


def messages(given: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The conversation in messages of nothing but text, the tools told in the first one."""
    told: list[dict[str, Any]] = []
    for message in given:
        plain = _plain(message)
        if (
            message["role"] == "tool" and told and told[-1]["role"] == "user"
        ):  # most templates want the roles to alternate
            told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n{plain['content']}"}
        else:
            told.append(plain)
    if not tools:
        return told
    lines = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    text = _TOLD.format(tools=lines)
    if told[0]["role"] in ("system", "developer"):
        return [{**told[0], "content": f"{told[0]['content']}\n\n{text}"}, *told[1:]]
    return [{"role": "system", "content": text}, *told]


def without_system(given: Sequence[Message]) -> list[Message]:
    """With the system message at the beginning of the user's, for templates that know none."""
    first, *others = given
    if first["role"] != "system" or not others or others[0]["role"] != "user":
        return list(given)
    return [{**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}, *others[1:]]


def _plain(message: Message) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = "\n".join(_written(call) for call in message.get("tool_calls") or [])
    content = "\n".join(part for part in (message["content"], calls) if part)
    return {"role": message["role"], "content": content}


def _written(call: Mapping[str, Any]) -> str:
    function = call.get("function") or call
    arguments = function.get("arguments")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {json.dumps(function.get("name"))}, "arguments": {written}}}\n</tool_call>'
