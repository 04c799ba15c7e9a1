"""MiniMax M3, with a mark before each tag, and tags for what is nested, too:

]<]minimax[>[<tool_call>
]<]minimax[>[<invoke name="weather">]<]minimax[>[<at>]<]minimax[>[<city>Oslo]<]minimax[>[</city>]<]minimax[>[</at>\\
]<]minimax[>[</invoke>
]<]minimax[>[</tool_call>
"""

import re
from typing import Any

from nitro.text.tool_formats import argument_values
from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tools import Call, Malformed, Tool, ToolsByName, Unfinished

_MARK = "]<]minimax[>["
_INVOKE = re.compile(r'<invoke name="([^">\n]+)">\s*')
_TAG = re.compile(r"<([^/<>\s][^<>\n]*)>")
_MAX_DEPTH = 64
Members = list[tuple[str, str]]  # name and JSON


def parse(body: str, tools: ToolsByName) -> list[Call]:
    """Read calls. The text behind each mark is a tag, and what follows it. Raises Malformed."""
    before, *tags = body.split(_MARK)
    if before.strip():
        raise Malformed("something stands before the calls")
    calls, at = [], 0
    while at < len(tags):
        opening = _INVOKE.fullmatch(tags[at])
        if not opening:
            raise Malformed("no call begins there")
        tool = tools.get(opening[1], Tool(opening[1], {}))
        arguments, at = _members(tags, at + 1, tool.parameters, tool, 0, [])
        _closed(tags, at, "</invoke>")
        calls.append(Call(opening[1], _object(arguments)))
        at += 1
    if not calls:
        raise Unfinished
    return calls


def parse_partial(body: str, tools: ToolsByName) -> list[Call]:
    """The calls so far; of the last one, the complete arguments."""
    tags = body.split(_MARK)[1:-1]  # the last one may go on
    calls: list[Call] = []
    at = 0
    while at < len(tags) and (opening := _INVOKE.fullmatch(tags[at])):
        tool = tools.get(opening[1], Tool(opening[1], {}))
        members: Members = []
        try:
            _, at = _members(tags, at + 1, tool.parameters, tool, 0, members)
            _closed(tags, at, "</invoke>")
        except Malformed:
            return [*calls, Call(opening[1], _object(members)[:-1])]
        calls.append(Call(opening[1], _object(members)))
        at += 1
    return calls


def _members(tags: list[str], at: int, schema: Any, tool: Tool, depth: int, members: Members) -> tuple[Members, int]:
    """Puts what the tags from `at` on hold into `members`, each a name and JSON. Returns these, and where they end."""
    if depth > _MAX_DEPTH:
        raise Malformed("nested too deeply")
    while at < len(tags) and (opening := _TAG.match(tags[at])):
        name, text = opening[1], tags[at][opening.end() :]
        value, at = _value(
            tags, at + 1, text, argument_values.member_schema(schema, name, tool.parameters), tool, depth
        )
        _closed(tags, at, f"</{name}>")
        if value is not None:
            members.append((name, value))
        at += 1
    return members, at


def _value(tags: list[str], at: int, text: str, schema: Any, tool: Tool, depth: int) -> tuple[str | None, int]:
    """The JSON of a text, or of the tags that follow it, None where it says nothing; and where they end."""
    members, end = _members(tags, at, schema, tool, depth + 1, [])
    allowed = argument_values.allowed_types(schema, tool.parameters)
    if not members:
        return argument_values.text_to_json(text, schema, tool.parameters, tool.enforced), end
    if text.strip():
        raise Malformed("a text and tags in one")
    in_list = {name for name, _ in members} == {"item"} and ("array" in allowed or "object" not in allowed)
    return "[" + ", ".join(value for _, value in members) + "]" if in_list else _object(members), end


def _closed(tags: list[str], at: int, tag: str) -> None:
    if at == len(tags):
        raise Unfinished
    if tags[at].rstrip() != tag:
        raise Malformed(f"expected {tag}")


def _object(members: Members) -> str:
    """A member that comes twice is written twice: the last one counts, in JSON as well."""
    return "{" + ", ".join(f"{argument_values.to_json(name)}: {value}" for name, value in members) + "}"


FORMAT = ToolFormat(
    name="minimax_m3",
    template_markers=(_MARK, "<tool_call>", "<invoke name="),
    open_tags=(f"{_MARK}<tool_call>",),
    close_tag=f"{_MARK}</tool_call>",
    parse=parse,
    parse_partial=parse_partial,
    layout=Layout(
        begin=f"{_MARK}<tool_call>\n",
        call=f'{_MARK}<invoke name="$NAME">$ARGUMENTS{_MARK}</invoke>\n',
        end=f"{_MARK}</tool_call>",
        call_separator="",
        parameter=f"{_MARK}<$KEY>$VALUE{_MARK}</$KEY>",
    ),
    special_tokens=(_MARK, "<tool_call>", "</tool_call>"),
)
