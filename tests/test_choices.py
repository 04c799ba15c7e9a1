"""From an engine's outputs to events: equal for every split, finish reasons, token counts, the flushed tail."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_detokenizer import ALL, splits
from test_stops import reference

from nitro.engines.types import FinishReason, Output
from nitro.errors import EngineDown
from nitro.service.choices import ChoiceAssembler, Choices, OutputSpec
from nitro.service.events import Event, Finished, TextDelta, TokenUsage
from nitro.text import reasoning
from nitro.text.deltas import Parser, PlainParser
from nitro.text.detokenizer import Detokenizer
from nitro.text.output_parser import ChannelParser

quick = settings(deadline=None, database=None)

ANSWERS: dict[str, tuple[bytes, list[str]]] = {
    "no stop given": ("Příliš 😀".encode(), []),
    "stop not there": ("Příliš 😀".encode(), ["END"]),
    "stop in the middle": ("kůň ■ pí".encode(), ["■"]),
    "stop at the start": ("■kůň".encode(), ["■"]),
    "stop at the end": ("世界END".encode(), ["END"]),
    "stop inside an emoji family": ("👨‍👩‍👧x".encode(), ["👧"]),
    "stop overlaps itself": ("čaaabč".encode(), ["aab"]),
    "one stop in another": ("xabcd😀".encode(), ["abcd", "bc"]),
    "nearly a stop at the end": (b"ahoj EN", ["END"]),
    "half a character at the end": (b"ahoj\xf0\x9f", ["j!"]),
    "half a character completes a stop": (b"ab\xf0\x9f", ["b\ufffd"]),
    "half a character is the stop": (b"ab\xf0\x9f", ["\ufffd"]),
    "half a character breaks a stop off": (b"abEN\xf0\x9f", ["END"]),
    "half a character amid a stop": (b"E\xf0\x9fNDx", ["END", "\ufffdN"]),
    "no UTF-8": (b"\xff\xfeab\x80", ["b\ufffd"]),
    "nothing": (b"", ["a"]),
}


def outputs(pieces: Sequence[bytes], finish: FinishReason | None, burst: int = 1) -> list[Output]:
    """The pieces as outputs of `burst` tokens each; the last one finishes."""
    groups = [list(pieces[i : i + burst]) for i in range(0, len(pieces), burst)] or [[]]
    return [Output(7, [0] * len(g), g, finish if i == len(groups) - 1 else None) for i, g in enumerate(groups)]


def make_choice(index: int, stops: Sequence[str]) -> ChoiceAssembler:
    return ChoiceAssembler(index, OutputSpec(stops=stops))


def feed(choice: ChoiceAssembler, given: Sequence[Output]) -> list[list[Event]]:
    """The events of each output, until the choice has finished."""
    return [choice.feed(output) for output in given if choice.finish is None]


def tokens_needed(pieces: Sequence[bytes], stops: Sequence[str]) -> int:
    """How many pieces it takes until a stop string is complete; all of them where none comes to be."""
    for count in range(1, len(pieces) + 1):
        certain = Detokenizer().feed(b"".join(pieces[:count]))
        if reference(stops, certain)[1]:
            return count
    return len(pieces)


def check(pieces: Sequence[bytes], stops: list[str], finish: FinishReason = "length", burst: int = 1) -> None:
    text, stopped = reference(stops, b"".join(pieces).decode("utf-8", "replace"))
    choice = make_choice(3, stops)
    events = feed(choice, outputs(pieces, finish, burst))
    streamed = [event.text for event in flat(events) if isinstance(event, TextDelta)]
    assert choice.text == choice.content == text == "".join(streamed), pieces
    assert choice.finish == ("stop" if stopped else finish)
    assert [event for event in flat(events) if isinstance(event, Finished)] == [events[-1][-1]]
    assert events[-1][-1] == Finished(3, choice.finish, choice.stop) and (choice.stop in stops) == stopped
    assert {event.index for event in flat(events)} == {3}
    assert choice.tokens == tokens_needed(pieces, stops)


def flat(bursts: Sequence[Sequence[Event]]) -> list[Event]:
    return [event for burst in bursts for event in burst]


def said(
    index: int, text: str, finish: FinishReason | None, ids: Sequence[int] = (), stop: str | None = None
) -> list[Event]:
    """The events of one output of a choice that is read as nothing but text."""
    deltas: list[Event] = [TextDelta(index, text, [], list(ids))] if text or ids else []
    return [*deltas, Finished(index, finish, stop)] if finish else deltas


@pytest.mark.parametrize("name", ANSWERS)
def test_every_split(name: str) -> None:
    data, stops = ANSWERS[name]
    for pieces in splits(data):
        check(pieces, stops)
        check(pieces, stops, "stop")
        check([*pieces, b""], stops, "stop", burst=len(pieces) + 1)
        check(pieces, stops, burst=2)


@pytest.mark.parametrize("name", ALL)
def test_every_split_of_multilingual_and_broken_text(name: str) -> None:
    for pieces in splits(ALL[name]):
        choice = make_choice(0, ["nowhere", "\ufffd" * 20])
        feed(choice, outputs(pieces, "length"))
        assert choice.text == ALL[name].decode("utf-8", "replace")
        assert (choice.finish, choice.tokens) == ("length", len(pieces))


@settings(quick, max_examples=300)
@given(
    st.lists(st.text("abá😀", max_size=4), max_size=3),
    st.one_of(
        st.text("abá😀", max_size=8).map(str.encode), st.lists(st.sampled_from([b"a", b"b", b"\xf0\x9f"])).map(b"".join)
    ),
    st.lists(st.integers(0, 30), max_size=8),
    st.integers(1, 4),
)
def test_any_split_any_burst(stops: list[str], data: bytes, cuts: list[int], burst: int) -> None:
    ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    check([data[a:b] for a, b in pairwise(ends)], stops, burst=burst)


PARSERS = [PlainParser, *(lambda markers=markers: ChannelParser(None, {}, markers) for markers in reasoning.KNOWN)]
TAGS = sorted({tag for m in reasoning.KNOWN for tag in (m.open_tag, m.close_tag, *m.ignored_tags) if tag})


@settings(quick, max_examples=300)
@given(
    st.sampled_from(PARSERS),
    st.lists(st.one_of(st.sampled_from([*TAGS, " ", "\n", "a", "😀"]).map(str.encode), st.just(b"\xf0\x9f"))).map(
        b"".join
    ),
    st.lists(st.integers(0, 60), max_size=12),
    st.integers(1, 3),
)
def test_what_need_not_be_parsed_comes_as_if_it_was(
    parser: Callable[[], Parser], data: bytes, cuts: list[int], burst: int
) -> None:
    ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    given_outputs = outputs([data[a:b] for a, b in pairwise(ends)], "length", burst)
    short, long = (ChoiceAssembler(0, OutputSpec(parser=parser)) for _ in range(2))
    long._may_pass = False
    assert feed(short, given_outputs) == feed(long, given_outputs)
    for name in ("text", "content", "reasoning", "ids", "tokens", "reasoning_tokens", "finish"):
        assert getattr(short, name) == getattr(long, name)
    assert short.runs() == long.runs()


def test_text_passes_unparsed_once_nothing_else_can_come() -> None:
    markers = next(m for m in reasoning.KNOWN if m.open_tag == "<think>" and not m.ignored_tags)
    parser = ChannelParser(None, {}, markers)
    passes = [(parser.feed(text), parser.passes)[1] for text in ("<think>", "Hm", "</think>", "\n", "Yes", " no")]
    assert passes == [False, False, False, False, True, True]
    assert PlainParser.passes


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_the_engines_finish_reason_holds_without_a_stop_string(finish: FinishReason) -> None:
    choice = make_choice(0, ["END"])
    assert choice.feed(Output(1, [1], [b"ahoj"])) == said(0, "ahoj", None, [1])
    assert choice.feed(Output(1, [2], [b" EN"], finish)) == said(0, " EN", finish, [2])


def test_a_stop_string_in_the_last_output_wins_over_length() -> None:
    choice = make_choice(0, ["END"])
    assert choice.feed(Output(1, [1, 2], [b"aEN", b"Db"], "length")) == said(0, "a", "stop", [1, 2], "END")


def test_the_end_of_generation_token_is_counted_and_silent() -> None:
    choice = make_choice(0, [])
    assert choice.feed(Output(1, [1, 2], [b"a", b""], "stop")) == said(0, "a", "stop", [1, 2])
    assert choice.tokens == 2


def test_tokens_behind_the_stop_string_are_not_counted() -> None:
    """Several tokens come in one step; the client pays up to the one that completed the stop string."""
    choice = make_choice(0, ["END"])
    assert choice.feed(Output(1, [1, 2, 3, 4], [b"aE", b"N", b"Db", b"c"])) == said(0, "a", "stop", [1, 2, 3], "END")
    assert (choice.text, choice.tokens) == ("a", 3)


def test_half_a_character_and_a_held_beginning_come_at_the_end() -> None:
    choice = make_choice(0, ["ENDE"])
    assert choice.feed(Output(1, [1], [b"aEN"])) == said(0, "a", None, [1])
    assert choice.feed(Output(1, [2], [b"D\xf0\x9f"])) == said(0, "", None, [2])
    assert choice.feed(Output(1, [], [], "length")) == said(0, "END\ufffd", "length")


def test_choices_share_nothing() -> None:
    one, other = make_choice(0, ["ab"]), make_choice(1, ["ab"])
    one.feed(Output(1, [1], [b"a\xf0"]))
    assert other.feed(Output(2, [1], [b"b"], "length")) == said(1, "b", "length", [1])


class FakeGeneration:
    """Bursts that are given beforehand, as `Generation` gives them; an exception among them is raised."""

    prompt_tokens, cached_tokens, cache_write_tokens = 11, 4, 0
    media_tokens: dict[str, int] = {}

    def __init__(self, *bursts: list[tuple[int, Output]] | Exception, n: int = 1):
        self.ids = list(range(100, 100 + n))
        self.stopped: list[int] = []
        self._bursts = deque(bursts)

    async def __anext__(self) -> list[tuple[int, Output]]:
        if not self._bursts:
            raise StopAsyncIteration
        if isinstance(burst := self._bursts.popleft(), Exception):
            raise burst
        return burst

    def stop(self, index: int) -> None:
        self.stopped.append(index)


def output(*pieces: bytes, finish: FinishReason | None = None) -> Output:
    return Output(0, [0] * len(pieces), list(pieces), finish)


def consume(choices: Choices) -> list[list[Event]]:
    async def consumed() -> list[list[Event]]:
        return [burst async for burst in choices]

    return asyncio.run(consumed())


def test_each_choice_has_its_own_text_and_end() -> None:
    generation = FakeGeneration(
        [(0, output(b"a")), (1, output(b"x", b"\xf0\x9f"))],
        [(1, output(b"\x98\x80", finish="length"))],
        [(0, output(b"b.c"))],
        n=2,
    )
    choices = Choices(generation, OutputSpec(stops=["."]))
    assert consume(choices) == [
        [*said(0, "a", None, [0]), *said(1, "x", None, [0, 0])],
        said(1, "😀", "length", [0]),
        said(0, "b", "stop", [0], "."),
    ]
    assert [(choice.index, choice.text, choice.finish) for choice in choices.choices] == [
        (0, "ab", "stop"),
        (1, "x😀", "length"),
    ]


def test_a_stop_string_ends_the_choice_in_the_engine_once_and_what_still_comes_is_dropped() -> None:
    generation = FakeGeneration(
        [(0, output(b"a.")), (0, output(b"late")), (1, output(b"x"))],
        [(0, output(b"later", finish="length")), (1, output(b"y", finish="stop"))],
        n=2,
    )
    choices = Choices(generation, OutputSpec(stops=["."]))
    assert consume(choices) == [
        [*said(0, "a", "stop", [0], "."), *said(1, "x", None, [0])],
        said(1, "y", "stop", [0]),
    ]
    assert generation.stopped == [0]
    assert choices.usage.completion_tokens == 3


@pytest.mark.parametrize("last", [b"b", b"b."])
def test_the_engine_is_not_told_of_an_end_it_told_itself(last: bytes) -> None:
    generation = FakeGeneration([(0, output(b"a"))], [(0, output(last, finish="length"))])
    consume(Choices(generation, OutputSpec(stops=["."])))
    assert generation.stopped == []


def test_usage_counts_all_choices() -> None:
    generation = FakeGeneration([(0, output(b"a", b"b")), (1, output(b"c."))], [(0, output(b"", finish="stop"))], n=2)
    choices = Choices(generation, OutputSpec(stops=["."]))
    consume(choices)
    assert choices.usage == TokenUsage(11, 4, 4)


@pytest.mark.parametrize("source", ["predicted", "modelled"])
@pytest.mark.parametrize(("stop", "taken"), [([], 4), (["b"], 2)])
def test_what_a_stop_cuts_off_is_no_accepted_guess(stop: list[str], taken: int, source: str) -> None:
    """Six tokens were guessed of which three were right, and a fourth came with them."""
    checked = replace(output(b"a", b"b", b"c", b"d"), drafted=6, accepted=3, **{source: True})
    looked_up = replace(output(b"e", b"f", finish="stop"), drafted=1, accepted=1)
    choices = Choices(FakeGeneration([(0, checked)], [(0, looked_up)]), OutputSpec(stops=stop, predicted=True))
    consume(choices)
    assert choices.choices[0].accepted == min(taken, 3) + (not stop)
    usage = choices.usage
    accepted = min(taken, 3)
    assert (usage.accepted_prediction_tokens, usage.rejected_prediction_tokens) == (accepted, 6 - accepted)


def test_an_engines_error_passes_through_and_what_came_stays() -> None:
    choices = Choices(FakeGeneration([(0, output(b"a"))], EngineDown("gone")))
    with pytest.raises(EngineDown, match="gone"):
        consume(choices)
    assert (choices.choices[0].text, choices.choices[0].finish) == ("a", None)
