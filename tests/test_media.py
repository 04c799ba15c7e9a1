"""Images and sounds on their way to the engine: what stands for them, who encodes them, and where chunks may end."""

import weakref
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from driving import GREEDY, Driver, prepared
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.media import Media
from nitro.engines.media_encoder import EncodedRun, MediaRejected, MediaRun
from nitro.engines.scheduling.media_borders import chunk_end
from nitro.engines.scheduling.media_table import KnownRun, Marks, MediaTable
from nitro.engines.scheduling.speculation import Drafter
from nitro.engines.types import EngineSpec, GenerationParams, MediaInfo
from nitro.engines.work import MediaPrompt, Piece, Work, encode_work
from nitro.engines.worker.jobs import JobResult, Rejection
from nitro.engines.worker.media_prompts import LANE
from nitro.engines.worker.named_prefixes import beginning
from nitro.engines.worker.preparation import Preparation
from nitro.engines.worker.token_questions import TokenQuestions

PARAMS = GenerationParams(max_tokens=4, sampling=GREEDY)
OPEN, CLOSE = [40], [41]  # what stands around a picture


@dataclass
class Encoder:
    """A picture of n bytes has n rows."""

    atomic: bool = True
    read: list[bytes] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)  # how many rows

    def pieces(self, media: Media) -> list[list[int] | MediaRun]:
        if not media.data:
            raise MediaRejected("it is empty.")
        self.read.append(media.data)
        rows = len(media.data)
        return [OPEN, MediaRun(rows, rows // 2, self.atomic), CLOSE]

    def encode(self, run: MediaRun) -> Any:
        self.encoded.append(run.tokens)
        return np.zeros((run.tokens, 4), np.float32)


class Source:
    """A decoded medium."""


def seeing(atomic: bool = True, context: int = 256) -> FakeRunner:
    runner = FakeRunner(EngineSpec("fake", "", context=context, parallel=4))
    runner.media = Encoder(atomic)
    runner.info = replace(runner.info, media=MediaInfo(image=True), vocabulary=257)
    return runner


def picture(data: bytes, kind: Any = "image") -> Media:
    return Media.of(kind, data, "messages[0].content[1]")


def run(preparation: Preparation, id: int, pieces: list[Piece], media: list[Media], **params: Any) -> JobResult:
    slices = preparation.slices([id], encode_work([MediaPrompt(pieces)], replace(PARAMS, **params), media=media).raw)
    lanes = []
    while True:
        try:
            lanes.append(next(slices))
        except StopIteration as done:
            assert LANE in lanes
            return done.value


def answer(error: pytest.ExceptionInfo[Rejection]) -> Any:
    return error.value.answer


# The table


def encoded(known: KnownRun, size: int = 8) -> EncodedRun:
    return known.encoded(np.zeros(size, np.uint8))


def test_a_medium_keeps_its_ids() -> None:
    table = MediaTable()
    runs = [OPEN, MediaRun(3, 3, False), MediaRun(2, 2, True), CLOSE]
    first = table.learn(b"a", runs)
    assert [id for part in first for id in part.ids] == [40, -1, -1, -1, -2, -2, 41]
    assert isinstance(first[0], Marks)
    assert table.learn(b"b", runs)[1].ids == [-3] * 3
    assert table.learn(b"a", runs) is first and table.parts(b"a") is first
    assert table.parts(b"c") is None


def test_an_id_is_never_used_again() -> None:
    table = MediaTable(max_known=2)
    seen = set()
    for name in (b"a", b"b", b"c", b"a"):
        (known,) = table.learn(name, [MediaRun(1, 1, False)])
        assert known.id not in seen
        seen.add(known.id)
    assert table.parts(b"b") is None


def test_rows_are_kept_by_their_last_use_and_while_somebody_has_them() -> None:
    table = MediaTable(max_bytes=20)
    known = [table.learn(bytes([i]), [MediaRun(1, 1, False)])[0] for i in range(3)]
    held = encoded(known[0])
    table.add(held)
    table.add(encoded(known[1]))
    assert table.encoded(known[0].id) is held  # used, so that the other one goes
    table.add(encoded(known[2]))
    assert table.encoded(known[1].id) is None
    assert table.encoded(known[2].id) is not None
    table.add(encoded(known[1], 20))
    assert table.encoded(known[2].id) is None
    assert table.encoded(known[0].id) is held, "a sequence has it"
    del held
    table.add(encoded(known[1], 20))
    assert table.encoded(known[0].id) is None


# Where chunks end


@given(st.data())
def test_no_chunk_ends_inside_a_run(data: st.DataObject) -> None:
    runs = {-id: EncodedRun(-id, data.draw(st.integers(1, 9)), 1, data.draw(st.booleans()), None) for id in range(1, 4)}
    parts = data.draw(st.lists(st.sampled_from([0, *runs]), max_size=8))
    tokens = [token for part in parts for token in ([part] * runs[part].tokens if part else [5, 6, 7])] + [8]
    borders, at = {0}, 0
    for part in parts:
        size = runs[part].tokens if part else 3
        whole = part and runs[part].atomic
        borders |= {at, at + size} if whole else set(range(at, at + size + 1))
        at += size
    start = data.draw(st.sampled_from(sorted(borders)))
    end = data.draw(st.integers(start + 1, len(tokens)))
    found = chunk_end(tokens, runs, start, end)
    assert start < found and found in borders | {len(tokens)}
    assert found == end if end in borders | {len(tokens)} else found < end or not borders & set(range(start + 1, end))


@pytest.mark.parametrize("budget", [1, 5, 8, 30])
def test_a_whole_run_is_one_chunk(budget: int) -> None:
    runner = seeing()
    chunks: list[tuple[int, int, int]] = []
    submit = runner.submit
    runner.submit = lambda batch: (chunks.extend((c.sequence_id, c.start, c.stop) for c in batch), submit(batch))[1]
    driver = Driver(runner, budget)
    preparation = Preparation(runner)
    for id, size in ((1, 20), (2, 9), (3, 20)):
        pieces: list[Piece] = ["abc", 0, f"def{id}"]
        (sequence,) = run(preparation, id, pieces, [picture(bytes([size]) * size)]).sequences
        driver.answers[id] = []
        driver.scheduler.add(sequence)
    assert set(driver.run()) == {1, 2, 3}
    for id, size in ((1, 20), (2, 9), (3, 20)):
        begin = 4  # abc and the mark
        own = [(start, stop) for of, start, stop in chunks if of == id]
        assert all(not begin < stop < begin + size for _, stop in own)
        assert all(before[1] == after[0] for before, after in pairwise(own))


def test_what_runs_may_be_cut_where_rows_see_those_before_them_only() -> None:
    runner = seeing(atomic=False)
    driver = Driver(runner, budget=5)
    (sequence,) = run(Preparation(runner), 1, [0, "x"], [picture(b"p" * 12)]).sequences
    driver.answers[1] = []
    driver.scheduler.add(sequence)
    driver.step()
    assert sequence.computed == 5


# Prompts


def test_a_picture_in_a_prompt() -> None:
    runner = seeing()
    preparation = Preparation(runner)
    made = run(preparation, 1, ["ab", 0, "c", 1, "d", 0, "e"], [picture(b"1234"), picture(b"56")])
    (sequence,) = made.sequences
    assert sequence.tokens == [*b"ab", 40, *[-1] * 4, 41, *b"c", 40, -2, -2, 41, *b"d", 40, *[-1] * 4, 41, *b"e"]
    assert made.answer == messages.Accepted(1, 21, media_tokens={"image": 16})
    assert set(sequence.media) == {-1, -2} and sequence.media[-1].tokens == 4
    assert runner.media.encoded == [4, 2] and len(runner.media.read) == 2


def test_the_same_picture_is_encoded_once() -> None:
    """Of requests after each other, and of two at once, whose slices take turns."""
    runner = seeing()
    preparation = Preparation(runner)
    raw = encode_work([MediaPrompt([0, "x"])], PARAMS, media=[picture(b"1234")]).raw
    both = [preparation.slices([id], raw) for id in (1, 2)]
    done: list[JobResult] = []
    while both:
        for slices in both.copy():
            try:
                next(slices)
            except StopIteration as end:
                done.append(end.value)
                both.remove(slices)
    done.append(run(preparation, 3, [0, "y"], [picture(b"1234")]))
    assert runner.media.encoded == [4]
    assert len({id(result.sequences[0].media[-1]) for result in done}) == 1


def test_a_prompt_that_is_too_long_is_not_encoded() -> None:
    runner = seeing(context=32)
    with pytest.raises(Rejection) as error:
        run(Preparation(runner), 1, ["ab", 0, "c"], [picture(b"p" * 40)])
    assert answer(error) == messages.TooLong(1, 45, 32)
    assert not runner.media.encoded


def test_no_more_is_held_decoded_than_goes_into_the_context() -> None:
    """Many sounds in a small body are gigabytes of samples."""
    runner = seeing(context=32)
    made: list[weakref.ref[Source]] = []
    most = 0

    def pieces(media: Media) -> list[list[int] | MediaRun]:
        nonlocal most
        source = Source()
        made.append(weakref.ref(source))
        most = max(most, sum(each() is not None for each in made))
        return [MediaRun(12, 12, False, source)]

    runner.media.pieces = pieces
    with pytest.raises(Rejection) as error:
        run(Preparation(runner), 1, [*range(20), "a"], [picture(bytes([i])) for i in range(20)])
    assert answer(error) == messages.TooLong(1, 241, 32)
    assert most == 3  # two go into it


@pytest.mark.parametrize(
    "pieces, media, params, param, says",
    [
        (["a", 0], [picture(b"12")], {}, None, None),  # a mark follows it
        ([0, "a"], [picture(b"")], {}, "messages[0].content[1]", "it is empty"),
        ([0, "a"], [picture(b"12", "audio")], {}, "messages[0].content[1]", "takes images only"),
        ([0, "a"], [picture(b"12")], {"echo": True}, "echo", "token by token"),
    ],
)
def test_what_is_refused(pieces: list[Piece], media: list[Media], params: Any, param: str, says: str | None) -> None:
    preparation = Preparation(seeing())
    if says is None:
        assert run(preparation, 1, pieces, media, **params).sequences
        return
    with pytest.raises(Rejection) as error:
        run(preparation, 1, pieces, media, **params)
    assert answer(error).param == param and says in answer(error).message


def test_a_prompt_ends_with_text() -> None:
    runner = seeing()
    runner.media.pieces = lambda media: [MediaRun(2, 2, False)]
    with pytest.raises(Rejection) as error:
        run(Preparation(runner), 1, ["a", 0], [picture(b"12")])
    assert "a text must follow" in answer(error).message and answer(error).param == "messages[0].content[1]"


def test_a_model_that_takes_text_only() -> None:
    runner = FakeRunner(EngineSpec("fake", "", context=64, parallel=1))
    with pytest.raises(Rejection) as error:
        prepared(runner, encode_work([MediaPrompt([0, "a"])], PARAMS, media=[picture(b"12")]))
    assert answer(error).param == "messages[0].content[1]" and "text only" in answer(error).message


def test_a_count_encodes_nothing() -> None:
    runner = seeing()
    raw = encode_work([MediaPrompt(["ab", 0, "c"]), "xyz"], PARAMS, media=[picture(b"1234")]).raw
    questions = TokenQuestions(runner.tokenizer, runner.info, Preparation(runner).media)

    def ask(**options: bool) -> Any:
        slices = questions.tokenize(messages.Tokenize(7, raw, **options))
        while True:
            try:
                next(slices)
            except StopIteration as done:
                return done.value.answer

    assert ask() == messages.Tokenized(7, [9, 3])
    assert not runner.media.encoded
    with pytest.raises(Rejection):
        ask(ids=True)


def test_a_named_prefix_has_the_media_behind_it() -> None:
    pieces: list[Piece] = ["abc", 0, "def", 1, "gh"]
    expected = {0: [""], 2: ["ab"], 3: ["abc", 0], 4: ["abc", 0, "d"], 6: ["abc", 0, "def", 1], 8: pieces, 99: pieces}
    for length, found in expected.items():
        if length:
            assert beginning(pieces, length) == found


def test_rows_are_no_guesses() -> None:
    """What follows the same words again is a picture: nobody says that."""
    again = Drafter()
    tokens = [1, 2, 3, 4, -1, -1, 5, 9, 1, 2, 3]
    assert again.look(tokens, 3)["lookup"].tokens == [4]
    tokens.append(4)
    assert "lookup" not in again.look(tokens, 4)


def test_work_with_media_comes_through_msgpack() -> None:
    from nitro.engines.work import decode_work

    raw = encode_work([MediaPrompt(["a", 0]), [0], "b"], PARAMS, media=[picture(b"\x00\xff")]).raw
    work = decode_work(raw)
    assert isinstance(work, Work)
    assert work.prompts == [MediaPrompt(["a", 0]), [0], "b"] and work.media == [picture(b"\x00\xff")]
