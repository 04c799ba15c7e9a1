"""Apertus, where a call's only key is the name:

<|tools_prefix|>[{"weather": {"city": "Oslo"}}, {"clock": {}}]<|tools_suffix|>
"""

import json

from nitro.text import partial_json
from nitro.text.tool_formats.format import Layout, ToolFormat
from nitro.text.tools import Call, Malformed, ToolsByName, Unfinished


def _parse(body: str, tools: ToolsByName) -> list[Call]:
    text, calls = body.strip(), []
    if not text.startswith("["):
        raise Malformed("there is no list") if text else Unfinished
    at = 1
    while (at := partial_json.skip_space(text, at, ",")) < len(text) and text[at] != "]":
        found = partial_json.read_object(text, at)
        if found.end is None:
            raise Unfinished
        for name, arguments in found.members.items():
            if not isinstance(json.loads(arguments, strict=False), dict):
                raise Malformed("arguments are no object")
            calls.append(Call(name, partial_json.to_strict(arguments)))
        at = found.end
    if not calls or at >= len(text):
        raise Unfinished
    if text[at + 1 :]:
        raise Malformed("something follows the calls")
    return calls


def _parse_partial(body: str, tools: ToolsByName) -> list[Call]:
    """The calls so far; the last one's arguments may be incomplete."""
    calls: list[Call] = []
    at = 0
    try:
        while (at := body.find("{", at)) >= 0:
            found = partial_json.read_object(body, at)
            calls += [Call(name, partial_json.to_strict(arguments)) for name, arguments in found.members.items()]
            if found.end is None:
                return (
                    [*calls, Call(*found.open_member)]
                    if found.open_member and found.open_member[1].startswith("{")
                    else calls
                )
            at = found.end
    except Malformed:
        pass
    return calls


FORMAT = ToolFormat(
    name="apertus",
    template_markers=("<|tools_prefix|>", "<|tools_suffix|>"),
    open_tags=("<|tools_prefix|>",),
    close_tag="<|tools_suffix|>",
    parse=_parse,
    parse_partial=_parse_partial,
    layout=Layout(
        begin="<|tools_prefix|>[", call='{"$NAME": $ARGUMENTS}', call_separator=", ", end="]<|tools_suffix|>"
    ),
    special_tokens=("<|tools_prefix|>", "<|tools_suffix|>"),
)
