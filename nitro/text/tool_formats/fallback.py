"""For models whose template tells nothing of tools: they are told in a system message, and asked for calls in the form
of their family or, where there is none, for this:

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nitro.text.tool_formats import hermes, history
from nitro.text.tool_formats.format import Layout

FORMAT = replace(hermes.FORMAT, name="generic", signs=("a template never says this",))

_TOLD = """\
You can call these functions, described by JSON schemas:
{tools}

To call one, write nothing but its name and its arguments, in this form:
{form}
Its result is told to you afterwards. Where no function helps, just answer."""

Message = Mapping[str, Any]


def messages(
    given: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, layout: Layout
) -> list[dict[str, Any]]:
    """The conversation in messages of nothing but text, the tools told in the first one."""
    told: list[dict[str, Any]] = []
    for message in given:
        plain = _plain(message, layout)
        if (
            message["role"] == "tool" and told and told[-1]["role"] == "user"
        ):  # most templates want the roles to alternate
            told[-1] = {**told[-1], "content": f"{told[-1]['content']}\n{plain['content']}"}
        else:
            told.append(plain)
    if not tools:
        return told
    lines = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    text = _TOLD.format(tools=lines, form=history.written([("NAME", {"ARGUMENT": "VALUE"})], layout))
    if told[0]["role"] in ("system", "developer"):
        return [{**told[0], "content": f"{told[0]['content']}\n\n{text}"}, *told[1:]]
    return [{"role": "system", "content": text}, *told]


def without_system(given: Sequence[Message]) -> list[Message]:
    """With the system message at the beginning of the user's, for templates that know none."""
    first, *others = given
    if first["role"] != "system" or not others or others[0]["role"] != "user":
        return list(given)
    return [{**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}, *others[1:]]


def _plain(message: Message, layout: Layout) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    return {"role": message["role"], "content": history.said(message, layout)}
