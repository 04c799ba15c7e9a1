"""A call in reasoning that nothing has closed: it ends the reasoning, streamed and whole. A mention of one does not."""

from itertools import combinations
from time import process_time

import pytest
import sdist
from test_templates import CASES, TOOLS, compiled, read

from nitro.text import reasoning
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import history, known

QWEN = "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"
HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
)
CALLED = [["get_weather", '{"city": "Oslo"}']]
# Format, what is said after the reasoning's opening; content, reasoning, calls.
SAID: dict[str, tuple[str, str, str, str, list[list[str]]]] = {
    "a call": ("qwen3_coder", f"I need it.\n{QWEN}", "", "I need it.", CALLED),
    "nothing but a call": ("qwen3_coder", f"\n{QWEN}\n", "", "", CALLED),
    "it goes on": ("hermes", f"Hm.\n{HERMES}\nDone.", "Done.", "Hm.", CALLED),
    "two": ("hermes", f"Hm. {HERMES}\n{HERMES}", "", "Hm.", CALLED * 2),
    "it is closed behind the call": ("hermes", f"Hm.\n{HERMES}\n</think>\n", "", "Hm.", CALLED),
    "it is closed, and an answer follows": (
        "hermes",
        f"Hm.\n{HERMES}\n</think>\n\nNo.",
        "No.",
        f"Hm.\n{HERMES}",
        [],
    ),
    "it is closed, and the call follows": ("hermes", f"Hm. {HERMES}\n</think>\n{HERMES}", "", f"Hm. {HERMES}", CALLED),
    "its closing is in an argument": (
        "hermes",
        'Hm.<tool_call>{"name": "write_note", "arguments": {"text": "</think>"}}</tool_call>',
        "",
        "Hm.",
        [["write_note", '{"text": "</think>"}']],
    ),
    "the call's own closing is missing": ("hermes", f"Hm.{HERMES[:-13]}\n</think>", "", "Hm.", CALLED),
    "a section": ("kimi_k2", f"Hm. {KIMI}", "", "Hm.", CALLED),
    "a mention": ("hermes", "I could <tool_call> it.</think>Yes.", "Yes.", "I could <tool_call> it.", []),
    "a mention, then a call": (
        "hermes",
        f"With <tool_call>, say.\n{HERMES}",
        "",
        "With <tool_call>, say.",
        CALLED,
    ),
    "a mention, then a call outside": (
        "hermes",
        f"So <tool_call> of get_weather.\n</think>\n{HERMES}",
        "",
        "So <tool_call> of get_weather.",
        CALLED,
    ),
    "a tag alone": ("hermes", "I use <tool_call></think>Yes.", "Yes.", "I use <tool_call>", []),
    "a call of no offered tool": (
        "hermes",
        'As <tool_call>{"name": "f", "arguments": {}}</tool_call> does.</think>Yes.',
        "Yes.",
        'As <tool_call>{"name": "f", "arguments": {}}</tool_call> does.',
        [],
    ),
    "a call that is cut": ("hermes", f"Hm.\n{HERMES[:-20]}", "", f"Hm.\n{HERMES[:-20]}", []),
    "a long thought after a mention": (
        "glm",
        "A <tool_call>get_time " + "x" * 1500 + "</think>Yes.",
        "Yes.",
        "A <tool_call>get_time " + "x" * 1500,
        [],
    ),
}


def family_of(format: str) -> ModelFamily:
    return ModelFamily(known()[format], True, next(m for m in reasoning.KNOWN if m.open_tag == "<think>"))


@pytest.mark.parametrize("case", SAID)
@pytest.mark.parametrize("opened", [True, False])
def test_what_is_said_is_read(case: str, opened: bool) -> None:
    name, text, *expected = SAID[case]
    text = text if opened else f"<think>{text}"
    ways = [[text], list(text), *([text[:i], text[i:]] for i in range(1, len(text), 1 + len(text) // 300))]
    for pieces in ways:
        content, thought, calls = read(family_of(name).parser(TOOLS, stream_calls=False, in_reasoning=opened), pieces)
        assert [content.rstrip(), thought.rstrip(), calls] == expected, pieces


def test_without_tools_nothing_ends_it_but_its_end() -> None:
    parser = family_of("hermes").parser(None, stream_calls=False, in_reasoning=True)
    assert read(parser, [f"Hm.\n{HERMES}"]) == ("", f"Hm.\n{HERMES}", [])


def test_a_mention_is_passed_on_in_time() -> None:
    parser = family_of("hermes").parser(TOOLS, stream_calls=False, in_reasoning=True)
    told = parser.feed("I could use <tool_call> " + "x" * 1000)
    assert [delta.channel for delta in told] == ["reasoning"] and told[0].text.endswith("x")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in sdist.templates()
        if (family := compiled(name)[1]).reasoning_markers and family.format.open_tags and family.format.name != "muse"
    ],
)
def test_in_every_family_that_reasons(name: str) -> None:
    """Each in the words of its own layout. Muse's calls are messages: in one to itself they are quotations."""
    family = compiled(name)[1]
    for case, opened in [("one", True), ("two", False), ("quotes", True), ("no arguments", False)]:
        calls = CASES[case][: 1 + family.format.layout.parallel]
        written = history.write_calls(calls, family.format.layout)
        text = ("" if opened else family.reasoning_markers.open_tag) + "I think.\n" + written
        whole = read(family.parser(TOOLS, stream_calls=False, in_reasoning=opened), [text])
        assert (whole[0].strip(), whole[1].strip()) == ("", "I think."), text
        assert [called for called, _ in whole[2]] == [called for called, _ in calls]
        for a, b in combinations(range(0, len(text) + 1, 9), 2):
            pieces = [text[:a], text[a:b], text[b:]]
            assert read(family.parser(TOOLS, stream_calls=False, in_reasoning=opened), pieces) == whole


@pytest.mark.parametrize("in_reasoning", [True, False])
@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "glm"])
def test_time_does_not_grow_with_the_square_of_endless_openings(name: str, in_reasoning: bool) -> None:
    """A model that goes round in circles: all is passed on, and the server waits for none of it."""
    opening = known()[name].open_tags[0] + "\n<function=get_weather>\n"
    text = opening * (500_000 // len(opening))
    parser = family_of(name).parser(TOOLS, stream_calls=False, in_reasoning=in_reasoning)
    begun = process_time()
    content, thought, calls = read(parser, [text[at : at + 1000] for at in range(0, len(text), 1000)])
    assert process_time() - begun < 2
    assert (content or thought).strip() == text.strip() and not calls
