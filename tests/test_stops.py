"""Stop strings: the same end for every chunking, nothing of a stop leaks, and no more is held back than may become one.

Compared with a reference that looks at the whole text, one character more at a time.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.engines.types import Output
from nitro.service.choices import ChoiceAssembler, OutputSpec
from nitro.text.output_parser import ChannelParser
from nitro.text.reasoning import Markers
from nitro.text.stops import StopMatcher
from nitro.text.tool_formats import hermes
from nitro.text.tools import Tool

quick = settings(deadline=None, database=None)

# name: (stops, text, what is passed on; None: no stop is in the text)
CASES: dict[str, tuple[list[str], str, str | None]] = {
    "in the middle": (["END"], "abENDcd", "ab"),
    "at the very start": (["END"], "ENDcd", ""),
    "at the very end": (["END"], "abEND", "ab"),
    "the whole text": (["END"], "END", ""),
    "one character": (["."], "ab.cd.", "ab"),
    "twice": (["xy"], "axybxy", "a"),
    "nearly, then fails": (["END"], "abENcd", None),
    "nearly, then fails, then is there": (["END"], "ENENDx", "EN"),
    "nearly at the end": (["END"], "abcdEN", None),
    "nearly, again and again": (["abac"], "abababab", None),
    "overlaps with itself": (["aab"], "aaab", "a"),
    "overlaps with itself, long": (["aabaaab"], "aabaabaaabx", "aab"),
    "overlaps with itself, periodic": (["ababc"], "abababcx", "ab"),
    "repeats one letter": (["aaa"], "baaaa", "b"),
    "of two the earlier": (["xx", "yy"], "ayybxx", "a"),
    "a prefix of another": (["ab", "abc"], "xabcd", "x"),
    "a prefix of another, given last": (["abc", "ab"], "xabcd", "x"),
    "a suffix of another": (["bc", "abc"], "xabcd", "x"),
    "a suffix of another, given last": (["abc", "bc"], "xabcd", "x"),
    "inside another: complete first": (["abcd", "bc"], "xabcd", "xa"),
    "overlapping: complete first": (["abc", "bcd"], "xabcd", "x"),
    "overlapping: the first one fails": (["abcx", "bcd"], "zabcd", "za"),
    "the long one fails, the short one was inside": (["abcdX", "c"], "zabcd", "zab"),
    "the same twice": (["ab", "ab"], "xaby", "x"),
    "empty ones do not count": (["", "b", ""], "aabaa", "aa"),
    "only empty ones": ([""], "abc", None),
    "none": ([], "abc", None),
    "no text": (["a"], "", None),
    "Czech": (["kůň"], "žlutý kůň pí", "žlutý "),
    "Chinese": (["世界", "界！"], "你好世界！", "你好"),
    "Arabic": (["عليكم"], "سلام عليكم.", "سلام "),
    "Devanagari: marks are characters too": (["स्त"], "नमस्ते", "नम"),
    "the beginning of an emoji family": (["👨‍👩"], "a👨‍👩‍👧b", "a"),
    "nearly an emoji family": (["👨‍👩‍👦"], "a👨‍👩‍👧b", None),
    "a flag out of the halves of two": (["🇿🇺"], "🇨🇿🇺🇳", "🇨"),
    "beyond the BMP": (["😀"], "a😁😀b", "a😁"),
    "line ends": (["\n\n"], "a\nb\n\nc", "a\nb"),
    "a pattern is no pattern": ([".*", "[a-z]+"], "abc.*d", "abc"),
    "letter case counts": (["stop"], "STOP Stop", None),
    "replacement character": (["\ufffd"], "a\ufffdb", "a"),
}


def reference(stops: Sequence[str], text: str) -> tuple[str, bool]:
    """What is passed on of `text`, and whether a stop string ended it."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


def undecided(stops: Sequence[str], text: str) -> str:
    """The longest end of `text` that is the beginning, but not the whole, of a stop string."""
    beginnings = {stop[:n] for stop in stops for n in range(1, len(stop))}
    return next((text[i:] for i in range(len(text)) if text[i:] in beginnings), "")


def chunkings(text: str) -> Iterator[list[str]]:
    """Every way to cut `text` into pieces that are not empty."""
    for count in range(len(text)):
        for cuts in combinations(range(1, len(text)), count):
            yield [text[a:b] for a, b in pairwise((0, *cuts, len(text)))]


def check(stops: Sequence[str], pieces: Sequence[str]) -> None:
    """Feed the pieces; compare with the reference after every one and at the end."""
    matcher = StopMatcher(stops)
    given = got = ""
    for piece in pieces:
        given += piece
        got += matcher.feed(piece)
        wanted, stopped = reference(stops, given)
        assert matcher.stopped == stopped
        held = "" if stopped else undecided(stops, given)
        assert got == wanted.removesuffix(held), (stops, pieces)
        assert got + held == wanted
    got += matcher.flush()
    assert (got, matcher.stopped) == reference(stops, given)
    assert matcher.flush() == ""


def test_the_reference() -> None:
    for stops, text, wanted in CASES.values():
        assert reference(stops, text) == (text if wanted is None else wanted, wanted is not None)
    assert undecided(["abc", "bcd"], "xabc") == "bc"
    assert undecided(["abc", "b"], "xab") == "ab"
    assert undecided(["abc"], "xabcx") == ""


@pytest.mark.parametrize("name", CASES)
def test_every_chunking(name: str) -> None:
    stops, text, _ = CASES[name]
    for pieces in chunkings(text):
        check(stops, pieces)
    check(stops, [text])


def test_every_text_of_two_letters_with_every_pair_of_short_stops() -> None:
    words = ["".join(letters) for length in (1, 2, 3) for letters in product("ab", repeat=length)]
    texts = ["".join(letters) for letters in product("ab", repeat=6)]
    for stops in combinations_with_replacement(words, 2):
        for text in texts:
            check(stops, list(text))
            check(stops, [text[:3], text[3:]])


@settings(quick, max_examples=300)
@given(
    st.lists(st.text("abá世😀", max_size=5), max_size=4),
    st.lists(st.text("abá世😀", max_size=6), max_size=10),
)
def test_any_stops_and_any_pieces(stops: list[str], pieces: list[str]) -> None:
    check(stops, pieces)


@settings(quick, max_examples=300)
@given(st.data(), st.text("ab", min_size=1, max_size=10))
def test_stops_out_of_the_text(data: st.DataObject, text: str) -> None:
    """Random stops are seldom in the text; these are, or nearly are."""
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), st.text("ab", max_size=1))
    stops = [text[a:b] + more for a, b, more in data.draw(st.lists(places, min_size=1, max_size=3))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    check(stops, [text[a:b] for a, b in pairwise([0, *cuts, len(text)])])


def test_held_back_text_comes_as_soon_as_it_cannot_be_a_stop() -> None:
    matcher = StopMatcher(["<|end|>"])
    assert matcher.feed("a <|en") == "a "
    assert matcher.feed("d") == ""
    assert matcher.feed("!") == "<|end!"
    assert not matcher.stopped


def test_of_failed_text_the_new_beginning_stays_back() -> None:
    matcher = StopMatcher(["aab"])
    assert [matcher.feed(letter) for letter in "aaaa"] == ["", "", "a", "a"]
    assert matcher.flush() == "aa"


def test_without_stops_everything_passes_at_once() -> None:
    matcher = StopMatcher([])
    assert [matcher.feed(piece) for piece in ("a", "", "bc")] == ["a", "", "bc"]
    assert matcher.flush() == "" and not matcher.stopped


def test_after_a_stop_nothing_comes_any_more() -> None:
    matcher = StopMatcher(["."])
    assert matcher.feed("a.b") == "a" and matcher.stopped
    assert matcher.feed("c") == matcher.feed("") == matcher.flush() == ""
    assert matcher.stopped


def test_flush_gives_back_what_was_held() -> None:
    matcher = StopMatcher(["😀😀"])
    assert matcher.feed("a😀") == "a"
    assert matcher.flush() == "😀" and not matcher.stopped
    assert matcher.flush() == ""


def test_of_an_endless_near_miss_only_the_end_is_held() -> None:
    matcher = StopMatcher(["\n\nUser:", "</s>"])
    assert [matcher.feed("\n") for _ in range(50_000)] == ["", "", *["\n"] * 49_998]
    assert matcher.flush() == "\n\n"


CALL = '<tool_call>{"name": "f", "arguments": {"a": "END"}}</tool_call>'
# What is said after the opening of the reasoning, with a stop string "END": reasoning, content, calls, finish.
ANSWERS: dict[str, tuple[str, str, str, list[str], str]] = {
    "in the reasoning": ("An END.</think>Yes.", "An END.", "Yes.", [], "length"),
    "in both": ("An END.</think>Yes END no.", "An END.", "Yes ", [], "stop"),
    "over the end of the reasoning": ("E</think>NDS.", "E", "NDS.", [], "length"),
    "in a call": (f"So.</think>Hm. {CALL}", "So.", "Hm.", ['{"a": "END"}'], "length"),
    "before a call": (f"So.</think>Hm END {CALL}", "So.", "Hm ", [], "stop"),
    "behind a call": (f"So.</think>{CALL} Hm END ha", "So.", "Hm ", ['{"a": "END"}'], "tool_calls"),
    "over a call": (f"So.</think>E{CALL}ND", "So.", "END", ['{"a": "END"}'], "length"),
    "in what is no call": ("So.</think><tool_call>END</tool_call>", "So.", "<tool_call>", [], "stop"),
    "in the tag of a call": ("So.</think><tool_call>EN", "So.", "<tool_call>EN", [], "length"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_they_end_the_content_and_nothing_else(case: str) -> None:
    said, *expected = ANSWERS[case]
    tools = {"f": Tool("f", {})}
    spec = OutputSpec(
        lambda: ChannelParser(hermes.FORMAT, tools, Markers("<think>", "</think>"), in_reasoning=True), stops=["END"]
    )
    for size in (1, 2, 3, 5, len(said)):
        choice = ChoiceAssembler(0, spec)
        pieces = [said[i : i + size].encode() for i in range(0, len(said), size)]
        for i, piece in enumerate(pieces):
            if choice.finish is None:
                choice.feed(Output(0, [0], [piece], "length" if i == len(pieces) - 1 else None))
        told = [choice.reasoning, choice.content, [call.arguments for call in choice.calls], choice.finish]
        assert told == expected, size


@pytest.mark.parametrize("cut", range(9))
def test_the_stop_string_is_passed_on_if_asked(cut: int) -> None:
    matcher = StopMatcher(["END", "D!"], keep=True)
    text = "aEND!bEND"
    assert matcher.feed(text[:cut]) + matcher.feed(text[cut:]) == "aEND" and matcher.stopped
