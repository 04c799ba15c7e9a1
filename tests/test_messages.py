"""Answers that are messages with headers, gpt-oss's (harmony) and Muse's: what is read, and that no mark leaks."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_templates import read

from nitro.text import reasoning
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import known
from nitro.text.tools import Tool

quick = settings(deadline=None, database=None)
TOOLS = {name: Tool(name, {"type": "object"}) for name in ("f", "get_weather")}
C, M, E, S = "<|channel|>", "<|message|>", "<|end|>", "<|start|>"
A = f"{C}analysis{M}Hm.{E}{S}assistant"
OSLO = '{"city": "Oslo"}'
F, WEATHER = [["f", "{}"]], [["get_weather", OSLO]]
ATEM = '<atem:function_calls>\n<atem:invoke name="f">\n</atem:invoke>\n</atem:function_calls>'
# What is said; content, reasoning, calls.
HARMONY: dict[str, tuple[str, str, str, list[list[str]]]] = {
    "a call on the channel of reasoning": (
        f"{C}analysis{M}Search.{E}{S}assistant{C}analysis to=functions.get_weather code{M}\n{OSLO}<|call|>",
        "",
        "Search.",
        WEATHER,
    ),
    "a sign in the channel": (f"{C}commentary?{M}Hm.{E}{S}assistant{C}final{M}Yes.", "Hm.Yes.", "", []),
    "a call on the final channel": (f"{C}final to=functions.f{M}{{}}<|call|>", "", "", F),
    "the tool before the channel": (f" to=functions.f{C}analysis <|constrain|>json{M}{{}}", "", "", F),
    "the tool before it, glued": (f" to=functions.f{C}commentary<|constrain|>json{M}{{}}", "", "", F),
    "the constraint glued": (f"{C}commentary to=functions.f<|constrain|>json{M}{{}}<|call|>", "", "", F),
    "a space before the name": (f"{A}{C}commentary to=functions. f{M}{{}}<|call|>", "", "Hm.", F),
    "no message, but its text": (f"{A}{C}commentary to=functions.f <|constrain|>json{OSLO}<|call|>", OSLO, "Hm.", []),
    "no prefix": (f"{A}{C}commentary to=f{M}{{}}", "", "Hm.", F),
    "no to": (f"{A}{C}commentary functions.f{M}{{}}", "", "Hm.", F),
    "no channel": (f"{A} to=functions.f{M}{{}}", "", "Hm.", F),
    "a word for the type": (f"{A}{C}commentary to=functions.f json{M}{{}}", "", "Hm.", F),
    "no arguments": (f"{A}{C}commentary to=functions.f{M}<|call|>", "", "Hm.", F),
    "a tool that is not offered": (f"{C}commentary to=functions.g{M}{{}}", "", "", [["g", "{}"]]),
    "one of its own": (f"{A}{C}commentary to=python <|constrain|>code{M}print(1)<|call|>", "", "Hm.print(1)", []),
    "to nobody in particular": (
        f"{C}commentary to=assistant{C}analysis{M}Hm.{E}{S}assistant{C}final{M}Y.",
        "Y.",
        "Hm.",
        [],
    ),
    "a preamble": (
        f"{C}commentary{M}Let me see.{E}{S}assistant{C}commentary to=functions.f{M}{{}}",
        "Let me see.",
        "",
        F,
    ),
    "an answer that is JSON": (f"{A}{C}final <|constrain|>json{M}{{}}<|return|>", "{}", "Hm.", []),
    "two calls": (f"{C}commentary to=functions.f{M}{{}}{E}{S}assistant to=f{M}{{}}", "", "", F * 2),
    "two calls, and no end": (
        f"{C}commentary to=functions.f{M}{{}}{S}assistant{C}commentary to=f{M}{{}}",
        "",
        "",
        F * 2,
    ),
    "no end of the reasoning": (f"{C}analysis{M}Hm.{S}assistant{C}final{M}Yes.", "Yes.", "Hm.", []),
    "no end and no start": (f"{C}analysis{M}Hm.{C}final{M}Yes.", "Yes.", "Hm.", []),
    "a call in the reasoning": (f"{C}analysis{M}Hm. {C}commentary to=functions.f{M}{{}}", "", "Hm.", F),
    "no start": (f"{C}analysis{M}Hm.{E}{C}final{M}Yes.", "Yes.", "Hm.", []),
    "a start without its mark": (f"{C}analysis{M}Hm.{E}assistant{C}final{M}Yes.", "Yes.", "Hm.", []),
    "two starts": (f"{C}analysis{M}Hm.{E}{S}assistant{S}assistant{C}final{M}Yes.", "Yes.", "Hm.", []),
    "no message": (f"{C}analysis I must.{E}{S}assistant{C}final{M}No.", "No.", "I must.", []),
    "no header": (f"I must.{E}{A}{C}final{M}No.", "I must.No.", "Hm.", []),
    "nothing but a start": (f"{A}Yes.", "Yes.", "Hm.", []),
    "a message of the tool": (f"{A} to=f{M}{{}}<|call|>{S}functions.f to=assistant{C}commentary{M}1{E}", "", "Hm.1", F),
    "a mark in an argument": (f'{C}commentary to=f{M}{{"a": "{E}{S}"}}', "", "", [["f", f'{{"a": "{E}{S}"}}']]),
    "no JSON": (f"{C}commentary to=functions.f{M}f(1){E}{S}assistant{C}final{M}Y.", "f(1)Y.", "", []),
    "a call that is cut": (f'{A}{C}commentary to=functions.f{M}{{"a": ', '{"a":', "Hm.", []),
    "a header that is cut": (f"{A}{C}commentary to=func", "", "Hm.", []),
    "plain": ("Yes, <it> is.", "Yes, <it> is.", "", []),
    "a stray end": (f"{C}final{M}Yes.{E}<|return|>", "Yes.", "", []),
    "a stray message": (f"{C}final{M}Yes, {M}it is.", "Yes, it is.", "", []),
}
MUSE: dict[str, tuple[str, str, str, list[list[str]]]] = {
    "a call": (f" to=f{M}{ATEM}", "", "", F),
    "an answer, then a call": (f" to=user{M}So.\n<|eom|>{S}assistant to=f{M}{ATEM}<|eot|>", "So.", "", F),
    "quoted to the user": (f" to=user{M}Write:\n{ATEM}<|eot|>", f"Write:\n{ATEM}", "", []),
    "quoted in the reasoning": (
        f" to=self{M}I could {ATEM} here<|eom|>{S}assistant to=user{M}Hi.<|eot|>",
        "Hi.",
        f"I could {ATEM} here",
        [],
    ),
    "no header": (ATEM, "", "", F),
    "a header to nobody": (f" to=self{M}Hm.<|eom|>{S}assistant{ATEM}", "", "Hm.", F),
    "no call": (f" to=f{M}Hello.<|eot|>", "Hello.", "", []),
}
SAID = {("gpt_oss", name): case for name, case in HARMONY.items()} | {("muse", name): MUSE[name] for name in MUSE}


def family_of(name: str) -> ModelFamily:
    format = known()[name]
    assert format.messages
    markers = next(markers for markers in reasoning.KNOWN if markers.open_tag == format.messages.reasoning)
    return ModelFamily(format, True, markers)


@pytest.mark.parametrize(("name", "case"), SAID)
def test_what_is_said_is_read(name: str, case: str) -> None:
    text, *expected = SAID[name, case]
    for pieces in ([text], list(text), *([text[:i], text[i:]] for i in range(1, len(text)))):
        content, thought, calls = read(family_of(name).parser(TOOLS, stream_calls=False, in_reasoning=False), pieces)
        assert [content.rstrip(), thought.rstrip(), calls] == expected, pieces


def test_without_tools_a_call_is_for_nobody() -> None:
    text = f"{A}{C}commentary to=functions.f{M}{{}}<|call|>"
    parser = family_of("gpt_oss").parser(None, stream_calls=False, in_reasoning=False)
    assert read(parser, list(text)) == ("", "Hm.{}", [])


def test_a_plain_answer_comes_at_once() -> None:
    parser = family_of("gpt_oss").parser(TOOLS, stream_calls=False, in_reasoning=False)
    assert [delta.text for delta in parser.feed("Yes, it")] == ["Yes, it"]
    parser = family_of("gpt_oss").parser(TOOLS, stream_calls=False, in_reasoning=False)
    assert parser.feed(f"{C}final and then " + "x" * 300)


def test_what_continues_keeps_its_white_space() -> None:
    parser = family_of("gpt_oss").parser(TOOLS, stream_calls=False, in_reasoning=True, continues=True)
    assert read(parser, [f" so.{E}{S}assistant{C}final{M}Yes."]) == ("Yes.", " so.", [])
    parser = family_of("gpt_oss").parser(TOOLS, stream_calls=False, in_reasoning=False, continues=True)
    assert read(parser, ["\n yes."]) == ("\n yes.", "", [])


PARTS = [C, M, E, S, "<|return|>", "<|call|>", "<|constrain|>", "analysis", "final", "commentary", "assistant", "{}"]
PARTS += [" to=functions.f", " to=f", " json", " ", "\n", "Hm", '{"a": "', '"}', "<|", "x" * 90]


@settings(quick, max_examples=500)
@given(st.lists(st.sampled_from(PARTS), max_size=14), st.booleans(), st.lists(st.integers(0, 400), max_size=4))
def test_parts_in_any_order(parts: list[str], thinking: bool, cuts: list[int]) -> None:
    text = "".join(parts)
    family = family_of("gpt_oss")
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    ways = [[text], list(text), [text[a:b] for a, b in pairwise(at)]]
    told = [read(family.parser(TOOLS, stream_calls=False, in_reasoning=thinking), way) for way in ways]
    assert told[0] == told[1] == told[2]
    content, thought, calls = told[0]
    assert not re.search(r"<\|(start|end|channel|message|constrain|return|call)\|>", content + thought)
    assert all(isinstance(json.loads(arguments), dict) for _, arguments in calls)
