"""What models may say wrong: the calls that templates and layouts write, cut, doubled and swapped at random, and every
format's marks in any order. Nothing raises, nothing is lost, and nothing depends on how the text arrives."""

import json
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import sdist
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import TEMPLATES
from test_templates import CASES, TOOLS, compiled, read, said

from nitro.errors import TemplateError
from nitro.text import reasoning, tool_formats
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import history
from nitro.text.tools import Call, TextAfterCalls, ToolsByName

quick = settings(deadline=None, database=None)
NOISE = ("<", "</", "<|", "[", "]", "{", '"', "\\", "\n", " ", "0", "é", "<think>", "</think>", "_call>", "null")
# Of (how, where, where to, how far): parts of the text are taken out, said twice, change places, or noise comes in.
Edit = tuple[str, float, float, float]
EDITS = st.lists(
    st.tuples(st.sampled_from(["cut", "double", "swap", "noise"]), *(st.floats(0, 1, exclude_max=True),) * 3),
    max_size=4,
)
SPLITS = st.lists(st.integers(0, 10**6), max_size=6)


@cache
def recorded() -> list[tuple[ModelFamily, str, bool]]:
    """A family, what the assistant said there, and whether it was reasoning: by templates, and by every layout, each
    beside another reasoning."""
    found = []
    for name in sdist.templates():
        for case in ("two", "nested", "quotes"):
            try:
                text, thinking = said(name, CASES[case], "I think.")
            except TemplateError:
                continue
            found.append((compiled(name)[1], text, thinking))
    for i, (_, format) in enumerate(sorted(tool_formats.known().items())):
        around = reasoning.KNOWN[i % len(reasoning.KNOWN)]
        for case in ("one", "two", "quotes"):
            calls = CASES[case][: 1 + format.layout.parallel]
            text = (
                around.open_tag
                + "I think." * bool(around.open_tag)
                + around.to_answer
                + history.write_calls(calls, format.layout)
            )
            found.append((ModelFamily(format, True, around), text, False))
    return found


@cache
def parts(family: ModelFamily) -> list[str]:
    """What texts of a family are made of, and some of no family's."""
    layout = family.format.layout
    markers = family.output_markers
    marks = {
        *family.visible_special_tokens(True),
        *(markers.ignored_tags_for(TOOLS) if markers else ()),
        *family.format.open_tags,
    }
    written = re.split(r"\$[A-Z]+", layout.begin + layout.call + (layout.parameter or "") + layout.end)
    calls = [
        history.write_calls([(name, arguments)], layout) for name, arguments in (("get_weather", {}), *CASES["one"])
    ]
    return [
        *sorted({*marks, *written, layout.call_separator or " ", layout.quote, *calls} - {""}),
        *NOISE,
        "get_weather",
        "a",
    ]


def edited(text: str, edits: list[Edit]) -> str:
    for how, a, b, length in edits:
        start, other = int(a * len(text)), int(b * len(text))
        stop = start + 1 + int(length * 30)
        piece, rest = text[start:stop], text[:start] + text[stop:]
        if how == "cut":
            text = rest if length < 0.7 else text[:start]
        elif how == "double":
            text = text[:other] + piece + text[other:]
        elif how == "swap":
            text = rest[:other] + piece + rest[other:]
        else:
            text = text[:start] + NOISE[int(length * len(NOISE))] + text[start:]
    return text


def pieces(text: str, splits: list[int]) -> list[str]:
    at = [0, *sorted(split % (len(text) + 1) for split in splits), len(text)]
    return [text[a:b] for a, b in pairwise(at)]


def heard(family: ModelFamily) -> tuple[ModelFamily, list[str]]:
    """It, and what it takes for calls, with the marks around."""
    format, taken = family.format, []

    def parse(body: str, tools: ToolsByName) -> list[Call]:
        try:
            calls = format.parse(body, tools)
        except TextAfterCalls as followed:
            if not format.close_tag and all(call.name in tools for call in followed.calls):
                calls = body.rstrip().removesuffix(followed.text.strip())
                taken.extend(opens + calls for opens in (*format.open_tags, ""))
            raise
        taken.extend(opens + body + closes for opens in (*format.open_tags, "") for closes in (format.close_tag, ""))
        return calls

    def parse_message(name: str, body: str, tools: ToolsByName) -> list[Call]:
        calls = format.messages.parse(name, body, tools)
        taken.append(body)
        return calls

    messages = format.messages and replace(format.messages, parse=parse_message)
    return replace(family, format=replace(format, parse=parse, messages=messages)), taken


def headers_in(family: ModelFamily, text: str) -> set[str]:
    """What may be headers of messages, and their marks."""
    messages = family.format.messages
    if not messages or not family.output_markers or family.output_markers.open_tag != messages.reasoning:
        return set()
    marks = [*map(re.escape, (messages.start, *messages.in_header)), "to=", "assistant"]
    begun = re.findall(rf"(?:\s*(?:{'|'.join(marks)})[^<\s]*)+", text)
    before = [text[: match.start()] for match in re.finditer(re.escape(messages.message), text)]
    whole = [tail[at:] for tail in before for mark in marks for at in [m.start() for m in re.finditer(mark, tail)][-9:]]
    return {*messages.marks, *begun, *whole}


def is_lost(family: ModelFamily, text: str, told: str, taken: list[str]) -> bool:
    """Whether anything of the text is neither told nor taken for calls, but white space and what is around reasoning
    and answers."""
    headers = headers_in(family, text)
    text, told = bare(text), bare(told)
    around = family.output_markers
    marks = (
        {*around.ignored_tags_for(TOOLS), around.open_tag, around.close_tag, around.optional_prefix}
        if around
        else set()
    )
    marks = {bare(mark) for mark in marks | set(taken) | headers | set(family.format.stray_tags)} - {""}
    ways = {0: {0}}  # by how much of the text: how much of what is told it may be
    for at in range(len(text)):
        here = ways.pop(at, set())
        ways.setdefault(at + 1, set()).update(so_far + 1 for so_far in here if told.startswith(text[at], so_far))
        for mark in marks:
            if text.startswith(mark, at):
                ways.setdefault(at + len(mark), set()).update(here)
    return len(told) not in ways.get(len(text), ())


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


def check(family: ModelFamily, text: str, thinking: bool, splits: list[int]) -> None:
    results = [
        read(family.parser(TOOLS, stream_calls=False, in_reasoning=thinking), some)
        for some in ([text], list(text), pieces(text, splits))
    ]
    assert results[1] == results[0] and results[2] == results[0]
    for name, arguments in results[0][2]:
        assert name and isinstance(json.loads(arguments), dict)
    hearing, taken = heard(family)
    parser = hearing.parser(TOOLS, stream_calls=False, in_reasoning=thinking)
    told = "".join(delta.text for delta in [*parser.feed(text), *parser.flush()] if delta.channel != "call")
    assert not is_lost(family, text, told, taken)


@settings(quick, max_examples=400)
@given(st.data(), EDITS, SPLITS)
def test_fuzzed_calls(data: st.DataObject, edits: list[Edit], splits: list[int]) -> None:
    family, text, thinking = data.draw(st.sampled_from(recorded()))
    check(family, edited(text, edits), thinking, splits)


@pytest.mark.parametrize("name", sorted(tool_formats.known()))
def test_marks_in_any_order(name: str) -> None:
    """Of the format and of any reasoning."""
    families = [ModelFamily(tool_formats.known()[name], True, around) for around in (None, *reasoning.KNOWN)]
    families += [family for family, _, _ in recorded() if family.format.name == name]

    @settings(quick, max_examples=30)
    @given(st.data(), st.booleans(), SPLITS)
    def any_order(data: st.DataObject, thinking: bool, splits: list[int]) -> None:
        family = data.draw(st.sampled_from(families))
        text = "".join(data.draw(st.lists(st.sampled_from(parts(family)), max_size=12)))
        check(family, text, thinking and family.reasoning_markers is not None, splits)

    any_order()


@settings(quick, max_examples=400)
@given(st.data(), st.floats(0, 1), SPLITS)
def test_calls_cut_in_the_middle(data: st.DataObject, end: float, splits: list[int]) -> None:
    """Where calls are certain, their arguments come as they are said: the whole text's beginning."""
    family, text, thinking = data.draw(st.sampled_from(recorded()))
    whole = read(family.parser(TOOLS, stream_calls=True, in_reasoning=thinking), [text])[2]
    text = text[: int(end * len(text))]
    results = [
        read(family.parser(TOOLS, stream_calls=True, in_reasoning=thinking), some)
        for some in ([text], list(text), pieces(text, splits))
    ]
    assert results[1] == results[0] and results[2] == results[0]
    for (name, arguments), (called, all_of_it) in zip(results[0][2], whole, strict=False):
        assert name == called and all_of_it.startswith(arguments)


def test_every_format_is_detected_somewhere() -> None:
    """By a template of the distribution, or by what test_formats.py tells of others."""
    detected = {compiled(name)[1].format.name for name in sdist.templates()} | {name for name, _ in TEMPLATES.values()}
    assert set(tool_formats.known()) == detected - {None}
