"""gpt-oss (harmony), each call in a message to the tool:

<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>

Headers are read as openai-harmony reads them (docs/format.md and src/encoding.rs there), and where it refuses one, as
what it most likely means: the last channel counts, the tool may be named before the channel or behind it, and other
words say nothing.
"""

import re

from nitro.text import partial_json
from nitro.text.message_parser import Header, MessageFormat
from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tool_formats.parsers.named_calls import named_calls
from nitro.text.tools import Call, Malformed, ToolsByName, Unfinished

# The channel may stand before the receiver or behind it.
_parse, _parse_partial = named_calls(
    r"\s*(?P<name>[^\s<{]+)\s*(?:<\|channel\|>\s*commentary)?\s*(?:<\|constrain\|>)?\s*\w*\s*<\|message\|>\s*(?={)",
    r"\s*\Z",
)
_START, _CHANNEL = "<|start|>", "<|channel|>"
_OPENING = "<|channel|>commentary to=functions."
_ROLE = re.compile(r"<\|start\|>\s*(assistant|user|system|developer|tool|\w+\.[\w.-]+)?")
_CHANNELS = re.compile(r"<\|channel\|>\s*([^\s<]*)")
_RECEIVER = re.compile(r"(?<![^\s>])to=((?:functions?[.:/]\s*)?[^\s<]+)")
_TYPE = re.compile(r"<\|constrain\|>\s*[\w/.+-]*")
_FUNCTION = re.compile(r"functions?[.:/]\s*(.+)")
_NOBODY = ("user", "assistant", "all")  # a message to these is none to a tool


def _read_header(text: str, tools: ToolsByName) -> Header:
    role = _ROLE.match(text)
    channel = ([found[1] for found in _CHANNELS.finditer(text) if found[1]] or [""])[-1]
    receiver = ([found[1] for found in _RECEIVER.finditer(text)] or [""])[-1]
    rest = text
    for part in (_ROLE, _CHANNELS, _RECEIVER, _TYPE):
        rest = part.sub(" ", rest)
    rest = rest.strip().removeprefix("assistant").strip()
    if not receiver and (rest in tools or _FUNCTION.fullmatch(rest)):
        receiver = rest
    function = _FUNCTION.fullmatch(receiver)
    tool = function[1] if function and tools else receiver if receiver in tools else None
    is_answer = (not role or role[1] in (None, "assistant")) and (not receiver or tool or receiver in _NOBODY)
    return Header(
        "content" if is_answer and not channel.startswith("analysis") else "reasoning",
        tool,
        text.startswith(_OPENING),
        rest,
    )


def _parse_message(name: str, text: str, tools: ToolsByName) -> list[Call]:
    text = text.strip()
    if not text:
        return [Call(name, "{}")]
    found = partial_json.read_object(text)
    if found.end is None:
        raise Unfinished
    if found.end < len(text):
        raise Malformed("something follows the arguments")
    return [Call(name, partial_json.to_strict(text))]


def _parse_partial_message(name: str, text: str, tools: ToolsByName) -> list[Call]:
    text = text.lstrip()
    found = partial_json.read_object(text)
    return [Call(name, text if found.end is None else partial_json.to_strict(text[: found.end]))]


FORMAT = ToolFormat(
    name="gpt_oss",
    template_markers=("<|channel|>commentary", "<|start|>assistant to="),
    open_tags=(_OPENING, "to=functions."),
    close_tag="<|call|>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin=_OPENING,
        call="$NAME <|constrain|>json<|message|>$ARGUMENTS",
        end="<|call|>",
        parallel=False,
    ),
    special_tokens=(_START, _CHANNEL, "<|constrain|>", "<|message|>", "<|call|>"),
    messages=MessageFormat(
        start=_START,
        message="<|message|>",
        ends=("<|end|>", "<|return|>", "<|call|>"),
        in_header=(_CHANNEL, "<|constrain|>"),
        reasoning="<|channel|>analysis<|message|>",
        read_header=_read_header,
        parse=_parse_message,
        parse_partial=_parse_partial_message,
    ),
)
