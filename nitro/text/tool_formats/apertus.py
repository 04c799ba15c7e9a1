"""Apertus, where a call's only key is the name:

<|tools_prefix|>[{"weather": {"city": "Oslo"}}, {"clock": {}}]<|tools_suffix|>
"""

import json

from nitro.text import partial_json
from nitro.text.tool_formats.format import Format, Layout
from nitro.text.tools import Call, Malformed, Tools, Unfinished


def _parse(body: str, tools: Tools) -> list[Call]:
    text, calls = body.strip(), []
    if not text.startswith("["):
        raise Malformed("there is no list") if text else Unfinished
    at = 1
    while (at := partial_json.skip(text, at, ",")) < len(text) and text[at] != "]":
        found = partial_json.read_object(text, at)
        if found.end is None:
            raise Unfinished
        for name, arguments in found.members.items():
            if not isinstance(json.loads(arguments, strict=False), dict):
                raise Malformed("arguments are no object")
            calls.append(Call(name, partial_json.strict(arguments)))
        at = found.end
    if not calls or at >= len(text):
        raise Unfinished
    if text[at + 1 :]:
        raise Malformed("something follows the calls")
    return calls


def _seen(body: str, tools: Tools) -> list[Call]:
    """What there is of calls so far; the last one's arguments may be incomplete."""
    calls: list[Call] = []
    at = 0
    try:
        while (at := body.find("{", at)) >= 0:
            found = partial_json.read_object(body, at)
            calls += [Call(name, partial_json.strict(arguments)) for name, arguments in found.members.items()]
            if found.end is None:
                return [*calls, Call(*found.open)] if found.open and found.open[1].startswith("{") else calls
            at = found.end
    except Malformed:
        pass
    return calls


FORMAT = Format(
    name="apertus",
    signs=("<|tools_prefix|>", "<|tools_suffix|>"),
    opens=("<|tools_prefix|>",),
    closes="<|tools_suffix|>",
    parse=_parse,
    seen=_seen,
    layout=Layout(begin="<|tools_prefix|>[", call='{"$NAME": $ARGUMENTS}', between=", ", end="]<|tools_suffix|>"),
    marks=("<|tools_prefix|>", "<|tools_suffix|>"),
)
