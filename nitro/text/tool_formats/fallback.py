"""For models whose template does not describe tools: a system message does.

It asks for calls in the form of the model's family or, where none is known, for this:

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
from nitro.text.tools import ChatMessage

FORMAT = replace(hermes.FORMAT, name="generic", template_markers=("a template never says this",))

_INSTRUCTIONS = """\
You can call these functions, described by JSON schemas:
{tools}

To call one, write nothing but its name and its arguments, in this form:
{form}
Its result is told to you afterwards. Where no function helps, just answer."""


def describe_tools(
    messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]] | None, layout: Layout
) -> list[dict[str, Any]]:
    """The conversation in messages of nothing but text, with the tools described in the first one."""
    texts: list[dict[str, Any]] = []
    for message in messages:
        text = _as_text(message, layout)
        if message["role"] == "tool" and texts and texts[-1]["role"] == "user":  # most templates want alternating roles
            texts[-1] = {**texts[-1], "content": f"{texts[-1]['content']}\n{text['content']}"}
        else:
            texts.append(text)
    if not tools:
        return texts
    lines = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    form = history.write_calls([("NAME", {"ARGUMENT": "VALUE"})], layout)
    instructions = _INSTRUCTIONS.format(tools=lines, form=form)
    if texts[0]["role"] in ("system", "developer"):
        return [{**texts[0], "content": f"{texts[0]['content']}\n\n{instructions}"}, *texts[1:]]
    return [{"role": "system", "content": instructions}, *texts]


def _as_text(message: ChatMessage, layout: Layout) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    return {"role": message["role"], "content": history.message_text(message, layout)}
