"""llama.cpp's KV on the CPU: running slots have streams, idle ones are in main memory, and answers do not suffer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from driving import Driver
from llama_scorer import LlamaScorer
from msgspec.structs import replace
from same_answer import assert_same_answer, tolerance
from tiny_models import write_gguf

from nitro.engines.backends.llama import kv_cells
from nitro.engines.backends.llama.batch import full_tiles
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.backends.llama.slot_kv import StreamKV
from nitro.engines.runner import Chunk, OutOfKV
from nitro.engines.types import EngineSpec, SamplingParams

GREEDY = SamplingParams(temperature=0)
WORDS = [f"The traveller {number} told of rivers, bridges and a town by the sea." for number in range(4)]


@pytest.fixture(scope="module")
def scorer(shallow_smollm: Path) -> Iterator[LlamaScorer]:
    scorer = LlamaScorer(shallow_smollm, parallel=4, banned=[0, 2])
    yield scorer
    scorer.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("slots") / "tiny.gguf")


@pytest.fixture
def empty(scorer: LlamaScorer) -> LlamaScorer:
    """No slot holds anything, and no sequence has a sampler."""
    for slot in range(scorer.info.slots):
        scorer.trim(slot, 0)
    for id in range(20):
        scorer.free_sequence(id)
    return scorer


def streams(runner: LlamaRunner) -> dict[int, int]:
    """By slot, those that have one."""
    assert isinstance(runner._kv, StreamKV)
    return dict(sorted(runner._kv._streams.items()))


def held(runner: LlamaRunner) -> list[int]:
    """Tokens in each stream."""
    return [kv_cells.held(runner._context.pointer, stream) for stream in range(runner._context.parameters.n_seq_max)]


def compute(runner: LlamaRunner, *chunks: tuple[int, list[int], int, int]) -> list[list[int]]:
    """One step of chunks: slot, tokens, start, stop. Sequence ids are the slots'."""
    runner.submit([Chunk(slot, slot, tokens, start, stop, GREEDY) for slot, tokens, start, stop in chunks])
    return [result.tokens for result in runner.collect()]


def prompts(runner: LlamaRunner) -> list[list[int]]:
    return [runner.tokenizer.encode(text) for text in WORDS]


def test_only_running_slots_have_a_stream(empty: LlamaScorer) -> None:
    assert empty.info.slots > empty._context.parameters.n_seq_max == 4
    for slot, tokens in zip((7, 2, 5), prompts(empty), strict=False):
        compute(empty, (slot, tokens, 0, len(tokens)))
    assert streams(empty) == {7: 0, 2: 1, 5: 2}
    empty.offload(2)
    assert streams(empty) == {7: 0, 5: 2} and held(empty)[1] == 0
    compute(empty, (9, prompts(empty)[0], 0, 4))
    assert streams(empty)[9] == 1, "the lowest that is free"


def test_the_slot_idle_for_the_longest_time_makes_way(empty: LlamaScorer) -> None:
    tokens = prompts(empty)[0]
    alone = [compute(empty, (slot, tokens, 0, len(tokens)))[0] for slot in range(4)]
    going_on = tokens + alone[0]
    compute(empty, (0, going_on, len(tokens), len(going_on)))
    compute(empty, (8, tokens, 0, len(tokens)))
    assert streams(empty) == {0: 0, 2: 2, 3: 3, 8: 1}
    assert compute(empty, (1, going_on, len(tokens), len(going_on))) != [[]], "it comes back where it is computed"
    assert sorted(streams(empty)) == [0, 1, 3, 8]
    assert [empty.trim(slot, len(tokens)) for slot in (0, 1, 2, 3)] == [len(tokens)] * 4


def test_decodes_are_moved_into_streams_in_a_row(empty: LlamaScorer) -> None:
    texts = prompts(empty)
    for slot, tokens in enumerate(texts):
        texts[slot] = tokens + compute(empty, (slot, tokens, 0, len(tokens)))[0]
    sizes = held(empty)
    empty.trim(1, 0)
    compute(empty, *[(slot, texts[slot], sizes[slot], sizes[slot] + 1) for slot in (3, 0, 2)])
    assert streams(empty) == {0: 0, 2: 2, 3: 1}
    assert held(empty) == [sizes[0] + 1, sizes[3] + 1, sizes[2] + 1, 0]


def test_a_move_takes_the_place_of_one_that_is_not_computed(empty: LlamaScorer) -> None:
    """As a long prompt among streams."""
    texts = prompts(empty)
    for slot, tokens in enumerate(texts):
        texts[slot] = tokens + compute(empty, (slot, tokens, 0, len(tokens)))[0]
    sizes = held(empty)
    compute(empty, *[(slot, texts[slot], sizes[slot], sizes[slot] + 1) for slot in (0, 2)])
    assert streams(empty) == {0: 0, 1: 2, 2: 1, 3: 3}
    assert held(empty) == [sizes[0] + 1, sizes[2] + 1, sizes[1], sizes[3]]
    compute(empty, *[(slot, texts[slot], sizes[slot], sizes[slot] + 1) for slot in (3,)])
    assert streams(empty) == {0: 0, 1: 2, 2: 1, 3: 3}, "one alone needs no row"


def test_answers_stay_the_same_while_slots_are_moved(empty: LlamaScorer) -> None:
    """They end one by one, and new ones come, so that gaps arise everywhere."""
    texts = prompts(empty) * 3
    driver = Driver(empty, budget=100)
    lengths = [12 + 5 * (id * 7 % 6) for id in range(len(texts))]
    for id, (prompt, length) in enumerate(zip(texts, lengths, strict=True)):
        driver.add(id, prompt + texts[id // 4][:3], length)
    answers = driver.run()
    explained = tolerance(empty, [token for id, prompt in enumerate(texts) for token in prompt + answers[id]][:300])
    for id, prompt in enumerate(texts):
        assert_same_answer(empty, prompt + texts[id // 4][:3], answers[id], explained)


def test_a_copy_is_made_of_a_busy_slot_and_of_an_idle_one(empty: LlamaScorer) -> None:
    tokens = prompts(empty)[0]
    (first,) = compute(empty, (0, tokens, 0, len(tokens)))[0]
    assert empty.copy(0, 6, 5) == 5 and empty.copy(0, 7, len(tokens)) == len(tokens)
    empty.offload(0)
    assert empty.copy(0, 9, len(tokens) - 1) == len(tokens) - 1
    for slot in (7, 9):
        start = empty.trim(slot, len(tokens) - 1)
        assert compute(empty, (slot, tokens, start, len(tokens))) == [[first]]
    assert empty.copy(0, 6, len(tokens) + 1) == 0


def test_a_full_stream_is_out_of_kv_and_nothing_is_computed(shallow_smollm: Path) -> None:
    """Each has 256 cells, llama.cpp's least; those of the others are no help."""
    runner = LlamaRunner(EngineSpec("llama", str(shallow_smollm), context=256, parallel=2))
    tokens = runner.tokenizer.encode("The quick brown fox jumps over the lazy dog. " * 60)
    assert runner.info.kv_tokens == 512
    compute(runner, (0, tokens, 0, 200), (1, tokens, 0, 200))
    with pytest.raises(OutOfKV):
        compute(runner, (0, tokens, 200, 300))
    assert [runner.trim(slot, 200) for slot in range(2)] == [200] * 2
    compute(runner, (0, tokens, 200, 256))
    runner.close()


def test_rows_that_fill_no_tile_are_computed_by_themselves() -> None:
    def chunk(id: int, start: int, stop: int, draft: list[int] | None = None, scored: bool = False) -> Chunk:
        return Chunk(
            id, id, list(range(300)), start, stop, SamplingParams(prompt_logprobs=scored), 300, None, draft or []
        )

    def spans(chunks: list[Chunk]) -> list[tuple[int, int, int]]:
        return [(chunk.slot, chunk.start, chunk.stop) for chunk in chunks]

    ends, less, full, decode = chunk(1, 10, 300), chunk(2, 0, 63), chunk(3, 20, 148), chunk(4, 299, 300, [5] * 70)
    first, last = full_tiles([ends, less, full, decode, chunk(5, 0, 100, scored=True)], 64)
    assert spans(first) == [(1, 10, 266)]
    assert spans(last) == [(1, 266, 300), (2, 0, 63), (3, 20, 148), (4, 299, 300), (5, 0, 100)]
    assert not first[0].wants_token and last[0].wants_token and last[3].draft


def test_full_tiles_together_give_the_same_bits_as_one_by_one(empty: LlamaScorer) -> None:
    """Of two prompts in a step, one of which goes on from 30 tokens that it has."""
    texts = [
        empty.tokenizer.encode(f"{words} " * 30)[:length] for words, length in zip(WORDS, (330, 299), strict=False)
    ]

    def logits(step: int) -> list[np.ndarray]:
        for slot in range(2):
            empty.trim(slot, 0)
        compute(empty, (1, texts[1], 0, 30))
        starts = [0, 30]
        rows: dict[int, np.ndarray] = {}
        while len(rows) < 2:
            stops = [min(start + step, len(text)) for start, text in zip(starts, texts, strict=True)]
            slots = [slot for slot in range(2) if starts[slot] < stops[slot]]
            compute(empty, *[(slot, texts[slot], starts[slot], stops[slot]) for slot in slots])
            ended = [slot for slot in slots if stops[slot] == len(texts[slot])]
            rows |= {slot: empty._logits(empty._tokens.last_row[slot]).copy() for slot in ended}
            starts = stops
        return [rows[0], rows[1]]

    one_by_one = logits(64)
    for step in (128, 320, 2000):
        assert all(map(np.array_equal, logits(step), one_by_one)), f"in steps of {step}"


@pytest.mark.parametrize("size", [64, 100, 128])
def test_a_prompt_beside_decodes_is_computed_as_alone(size: int, empty: LlamaScorer) -> None:
    """In a stream just below theirs, which llama.cpp would compute together with them, and in the one just above."""
    prompt = empty.tokenizer.encode(f"{WORDS[0]} " * 30)[:size]
    compute(empty, (0, prompt, 0, size))
    alone = empty._logits(empty._tokens.last_row[0]).copy()
    text = empty.tokenizer.encode(f"{WORDS[1]} " * 2)[:21]
    for slots in ((1, 0), (0, 1)):
        empty.trim(0, 0)
        empty.trim(1, 0)
        for slot in slots:
            compute(empty, (slot, text, 0, 20))
        empty.trim(0, 0)
        compute(empty, (1, text, 20, 21), (0, prompt, 0, size))
        assert np.array_equal(empty._logits(empty._tokens.last_row[0]), alone), streams(empty)


def test_tiles_are_taken_back_where_the_rest_finds_no_room(shallow_smollm: Path) -> None:
    runner = LlamaRunner(EngineSpec("llama", str(shallow_smollm), context=256, parallel=2))
    tokens = runner.tokenizer.encode("The quick brown fox jumps over the lazy dog. " * 60)
    compute(runner, (0, tokens, 0, 150))
    with pytest.raises(OutOfKV):
        compute(runner, (0, tokens, 150, 260), (1, tokens, 0, 100))
    assert runner.trim(0, 150) == 150 and held(runner) == [150, 0]
    compute(runner, (0, tokens, 150, 256), (1, tokens, 0, 100))
    assert held(runner) == [256, 100]
    runner.close()


def test_what_makes_way_takes_no_more_memory_than_the_pool(tiny: Path) -> None:
    """Where there is no memory for idle slots beside it, they give way as in a pool: the oldest is dropped."""
    runner = LlamaRunner(EngineSpec("llama", str(tiny), context=256, parallel=1))
    runner.info = replace(runner.info, offload_tokens=0)
    driver = Driver(runner, budget=256)
    for id in range(6):
        driver.add(id, [3 + id, *range(10, 90)], 20)
        driver.run()
        kept = [slot for slot in range(runner.info.slots) if driver.scheduler.slots.size(slot)]
        assert driver.scheduler.kv_used <= 256 and set(runner._kv._offloaded) <= set(kept)
    assert [len(answer) for answer in driver.answers.values()] == [20] * 6
    assert len(kept) == 2, "of about a hundred tokens each"
    runner.close()


def test_what_is_offloaded_counts_for_nothing(tiny: Path) -> None:
    runner = LlamaRunner(EngineSpec("llama", str(tiny), context=256, parallel=1))
    tokens = list(range(10, 210))
    compute(runner, (0, tokens, 0, 150))
    compute(runner, (1, tokens, 0, 100))  # slot 0 makes way
    with pytest.raises(OutOfKV):
        compute(runner, (2, tokens, 0, 100))
    runner.offload(0)
    compute(runner, (2, tokens, 0, 100))
    assert runner.trim(0, 150) == 150 and runner.trim(1, 100) == 100
    runner.close()
