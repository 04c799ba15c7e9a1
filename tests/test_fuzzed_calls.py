"""What models may say wrong: the calls that templates write, cut, doubled and swapped at random. Nothing raises,
nothing is lost, and nothing depends on how the text arrives."""

import json
import re
from functools import cache
from itertools import pairwise

import sdist
from hypothesis import given, settings
from hypothesis import strategies as st
from test_templates import CASES, TOOLS, compiled, read, said

from nitro.errors import TemplateError
from nitro.text import formats
from nitro.text.family import Family

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
def recorded() -> list[tuple[str, Family, str, bool]]:
    """Template, its family, what the assistant said there, and whether it was reasoning."""
    found = []
    for name, source in sdist.templates().items():
        family = compiled(name)[1]
        for case in ("two", "nested", "quotes") if family.native and "tools" in source else ():
            try:
                text, thinking = said(name, CASES[case], "I think.")
            except TemplateError:
                continue
            found.append((name, family, text, thinking))
    return found


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


def is_lost(family: Family, text: str, told: str) -> bool:
    """Whether anything of the text is not told, but white space and what is around reasoning and answers."""
    text, told = bare(text), bare(told)
    markers = family.markers
    marks = [bare(mark) for mark in ({*markers.wraps_of(TOOLS), markers.opens, markers.closes} if markers else ())]
    ways = {0: {0}}  # by how much of the text: how much of what is told it may be
    for at in range(len(text)):
        for told_at in ways.pop(at, ()):
            if text[at] == told[told_at : told_at + 1]:
                ways.setdefault(at + 1, set()).add(told_at + 1)
            for mark in marks:
                if text.startswith(mark, at):
                    ways.setdefault(at + len(mark), set()).add(told_at)
    return len(told) not in ways.get(len(text), ())


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


@settings(quick, max_examples=1000)
@given(st.data(), EDITS, SPLITS)
def test_fuzzed_calls(data: st.DataObject, edits: list[Edit], splits: list[int]) -> None:
    _, family, text, thinking = data.draw(st.sampled_from(recorded()))
    text = edited(text, edits)
    results = [
        read(family.parser(TOOLS, live=False, thinking=thinking), some)
        for some in ([text], list(text), pieces(text, splits))
    ]
    assert results[1] == results[0] and results[2] == results[0]
    content, reasoning, calls = results[0]
    for name, arguments in calls:
        assert name and isinstance(json.loads(arguments), dict)
    if not calls:
        parser = family.parser(TOOLS, live=False, thinking=thinking)
        told = "".join(delta.text for delta in [*parser.feed(text), *parser.flush()])
        assert sorted(told) == sorted(reasoning + content)
        assert not is_lost(family, text, told)


@settings(quick, max_examples=400)
@given(st.data(), st.floats(0, 1), SPLITS)
def test_calls_cut_in_the_middle(data: st.DataObject, end: float, splits: list[int]) -> None:
    """Where calls are certain, their arguments come as they are said: the whole text's beginning."""
    _, family, text, thinking = data.draw(st.sampled_from(recorded()))
    whole = read(family.parser(TOOLS, live=True, thinking=thinking), [text])[2]
    text = text[: int(end * len(text))]
    results = [
        read(family.parser(TOOLS, live=True, thinking=thinking), some)
        for some in ([text], list(text), pieces(text, splits))
    ]
    assert results[1] == results[0] and results[2] == results[0]
    for (name, arguments), (called, all_of_it) in zip(results[0][2], whole, strict=False):
        assert name == called and all_of_it.startswith(arguments)


def test_every_format_of_a_template_is_there() -> None:
    """Those without a template in the distribution are named here."""
    without = set(formats.known()) - {family.format.name for _, family, _, _ in recorded()}
    assert without <= {"generic", "longcat", "functiongemma", "llama_python", "deepseek_v31"}
