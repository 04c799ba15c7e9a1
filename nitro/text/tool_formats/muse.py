"""Muse, each call in a message to the tool:

<atem:function_calls>
<atem:invoke name="weather">
<atem:parameter name="city">Oslo</atem:parameter>
</atem:invoke>
</atem:function_calls>

The same in a message to the user or to itself is a quotation.
"""

import re

from nitro.text.message_parser import Header, MessageFormat
from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.tagged_calls import TaggedCalls
from nitro.text.tools import Call, ToolsByName

_TAGS = TaggedCalls(
    call=r'<atem:invoke\b[^>\n]*? name="(?P<name>[^">\n]+)"[^>\n]*>',
    key=r'<atem:parameter\b[^>\n]*? name="(?P<key>[^">\n]+)"[^>\n]*>',
    close_tag="</atem:parameter>",
    end="</atem:invoke>",
)
_OPEN, _CLOSE = "<atem:function_calls>", "</atem:function_calls>"
_RECEIVER = re.compile(r"(?:<\|start\|>)?\s*(?:assistant)?\s*(?:to=([^\s<]+))?\s*")


def _read_header(text: str, tools: ToolsByName) -> Header:
    found = _RECEIVER.match(text)
    receiver, rest = (found[1] or "user", text[found.end() :]) if found else ("user", text)
    tool = None if receiver in ("self", "user") else receiver
    return Header("reasoning" if receiver == "self" else "content", tool, certain=True, text=rest)


def _section(text: str) -> str:
    return text.strip().removeprefix(_OPEN).removesuffix(_CLOSE)


def _parse_message(name: str, text: str, tools: ToolsByName) -> list[Call]:
    return _TAGS.parse(_section(text), tools)


def _parse_partial_message(name: str, text: str, tools: ToolsByName) -> list[Call]:
    return _TAGS.parse_partial(_section(text), tools)


FORMAT = ToolFormat(
    name="muse",
    template_markers=("<atem:function_calls>", "<atem:invoke name="),
    open_tags=(_OPEN,),
    close_tag=_CLOSE,
    parse=_TAGS.parse,
    parse_partial=_TAGS.parse_partial,
    layout=Layout(
        begin="<atem:function_calls>\n",
        call='<atem:invoke name="$NAME">\n$ARGUMENTS</atem:invoke>',
        end="\n</atem:function_calls>",
        call_separator="\n",
        parameter='<atem:parameter name="$KEY">$VALUE</atem:parameter>\n',
    ),
    messages=MessageFormat(
        start="<|start|>",
        message="<|message|>",
        ends=("<|eom|>", "<|eot|>"),
        reasoning="to=self<|message|>",
        read_header=_read_header,
        parse=_parse_message,
        parse_partial=_parse_partial_message,
        call=_OPEN,
    ),
)
