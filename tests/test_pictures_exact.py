"""A picture whose rows are the model's own token rows: what is computed of it is what is computed of the words, bit for
bit, however it is computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from driving import GREEDY, Driver, prepared
from msgspec.structs import replace
from projectors import grid_of, medium, words, write_oracle

from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.media import Media
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.sequence import Sequence as Running
from nitro.engines.types import EngineSpec, GenerationParams, Logprobs
from nitro.engines.work import MediaPrompt, Piece, encode_work
from nitro.engines.worker.preparation import Preparation

PARAMS = GenerationParams(max_tokens=6, sampling=replace(GREEDY, logprobs=4))
BEFORE = "<|im_start|>user\nSee:"
AFTER = " What is it?<|im_end|>\n<|im_start|>assistant\n"
GRIDS = [grid_of(seed) for seed in range(6)]
COLOUR_TOKENS = (301, 302, 303, 304, 305)  # any will do
Said = list[tuple[list[int], list[Logprobs]]]


@pytest.fixture(scope="module")
def runner(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaRunner]:
    """A model that sees, and each row of a step is what it is alone (--deterministic)."""
    yield from _seeing(model, tmp_path_factory, deterministic=True)


@pytest.fixture(scope="module")
def usual(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaRunner]:
    """One that is packed, as it is served."""
    yield from _seeing(smollm, tmp_path_factory)


def _seeing(model: Path, folder: pytest.TempPathFactory, **options: bool) -> Iterator[LlamaRunner]:
    projector = write_oracle(model, folder.mktemp("projector") / "mmproj.gguf", COLOUR_TOKENS)
    runner = LlamaRunner(EngineSpec("llama", str(model), context=512, parallel=8, mmproj=str(projector), **options))
    yield runner
    runner.close()


@dataclass
class Recorder(Driver):
    """Keeps tokens with all logprobs that were asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.said: dict[int, Said] = {}
        self.cached: dict[int, int] = {}  # tokens that a sequence found in the cache

    def put(self, *sequences: Running) -> None:
        for sequence in sequences:
            self.answers[sequence.id] = []
            self.said[sequence.id] = []
        self.scheduler.add(*sequences)

    def step(self) -> None:
        batch = self.scheduler.schedule(lambda *_: self.budget)
        self.cached |= {sequence.id: cached for sequence, cached in self.scheduler.admitted}
        self.runner.submit(batch)
        self.batches.append([chunk.sequence_id for chunk in batch])
        for output in self.scheduler.advance(batch, self.runner.collect()):
            assert output.error is None
            self.said[output.id].append((output.tokens, output.logprobs))

    def all(self) -> dict[int, Said]:
        while self.scheduler.busy:
            self.step()
        return self.said


def pieces(grids: Sequence[int], tail: str = AFTER) -> tuple[list[Piece], list[Media]]:
    """A prompt with these pictures, one after each "See:"."""
    prompt: list[Piece] = []
    for place in range(len(grids)):
        prompt += [BEFORE, place]
    return [*prompt, tail], [medium(GRIDS[grid]) for grid in grids]


def seen(runner: LlamaRunner, preparation: Preparation, id: int, grids: Sequence[int], tail: str = AFTER) -> Running:
    """A sequence with pictures."""
    prompt, media = pieces(grids, tail)
    work = encode_work([MediaPrompt(prompt)], PARAMS, media=media)
    slices = preparation.slices([id], work.raw)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            (sequence,) = done.value.sequences
            return sequence


def read(runner: LlamaRunner, id: int, grids: Sequence[int], tail: str = AFTER) -> Running:
    """The same with the words that the pictures stand for. Cut into the same chunks it is the same arithmetic."""
    prompt, _ = pieces(grids, tail)
    tokens: list[int] = []
    for piece in prompt:
        is_text = isinstance(piece, str)
        tokens += runner.tokenizer.encode(piece) if is_text else words(GRIDS[grids[piece]], COLOUR_TOKENS)
    (sequence,) = prepared(runner, encode_work([tokens], PARAMS)).sequences
    sequence.id = id
    return sequence


@pytest.fixture
def preparation(runner: LlamaRunner) -> Preparation:
    _empty(runner)
    return Preparation(runner)


def _empty(runner: LlamaRunner) -> None:
    for slot in range(runner.info.slots):
        runner.trim(slot, 0)
    for id in range(40):
        runner.free_sequence(id)


def alone(runner: LlamaRunner, sequence: Running, budget: int = 256) -> Said:
    """From an empty cache."""
    _empty(runner)
    recorder = Recorder(runner, budget)
    recorder.put(sequence)
    return recorder.all()[sequence.id]


def test_a_picture_alone(runner: LlamaRunner, preparation: Preparation) -> None:
    assert runner.info.media and runner.info.media.image and not runner.info.media.audio
    assert alone(runner, seen(runner, preparation, 1, [0])) == alone(runner, read(runner, 2, [0]))
    assert alone(runner, seen(runner, preparation, 5, [1])) != alone(runner, read(runner, 2, [0]))
    two = seen(runner, preparation, 3, [0, 1])
    assert sum(token < 0 for token in two.tokens) == 32 and len(set(two.tokens) & {-1, -2}) == 2
    assert alone(runner, two) == alone(runner, read(runner, 4, [0, 1]))


def test_as_it_is_served(usual: LlamaRunner) -> None:
    """Without --deterministic, of so few tokens that no kernel is another one."""
    preparation = Preparation(usual)
    assert alone(usual, seen(usual, preparation, 1, [2])) == alone(usual, read(usual, 2, [2]))


@pytest.mark.parametrize("budget", [1, 7, 13])
def test_cut_inside_the_picture(runner: LlamaRunner, preparation: Preparation, budget: int) -> None:
    """Its rows see those before them only, so it may be computed in parts."""
    whole = alone(runner, read(runner, 2, [3]))
    assert alone(runner, seen(runner, preparation, 1, [3]), budget) == whole


def test_eight_together(runner: LlamaRunner, preparation: Preparation) -> None:
    """Texts and pictures, the same and others."""
    kinds = [[0], [], [1], [0, 2], [], [0], [4, 3], [5]]
    tails = [f" Number {id}.{AFTER}" for id in range(len(kinds))]
    expected = {id: alone(runner, read(runner, id, grids, tails[id])) for id, grids in enumerate(kinds)}
    _empty(runner)
    recorder = Recorder(runner, budget=96)
    for id, grids in enumerate(kinds):
        recorder.put(seen(runner, preparation, id, grids, tails[id]))
    assert recorder.all() == expected
    assert max(map(len, recorder.batches)) > 3


def test_the_prefix_is_found_again(runner: LlamaRunner, preparation: Preparation) -> None:
    """The same picture goes on in its own slot, and is copied for others while the first one runs."""
    tails = [f" Say {word}.{AFTER}" for word in ("one", "two", "three")]
    expected = [alone(runner, read(runner, 9, [1], tail)) for tail in tails]
    _empty(runner)
    recorder = Recorder(runner, budget=96)
    recorder.put(seen(runner, preparation, 1, [1], tails[0]))
    recorder.step()
    recorder.put(seen(runner, preparation, 2, [1], tails[1]))  # copied
    recorder.all()
    recorder.put(seen(runner, preparation, 3, [1], tails[2]))  # cut behind the picture
    said = recorder.all()
    assert [said[id] for id in (1, 2, 3)] == expected
    prefix = len(runner.tokenizer.encode(BEFORE)) + 16
    assert recorder.cached[2] > prefix and recorder.cached[3] > prefix
    recorder.put(seen(runner, preparation, 4, [2], tails[0]))
    recorder.all()
    assert recorder.cached[4] < prefix, "another picture is another prefix"


def test_cut_before_the_picture(runner: LlamaRunner, preparation: Preparation) -> None:
    """A slot that holds one picture goes on with another."""
    expected = alone(runner, read(runner, 1, [4]))
    _empty(runner)
    first = seen(runner, preparation, 2, [5])
    recorder = Recorder(runner, 96)
    recorder.put(first)
    recorder.all()
    text = len(runner.tokenizer.encode(BEFORE))
    slot = next(slot for slot, held, *_ in recorder.scheduler.slots.items() if held[:text] == first.tokens[:text])
    assert runner.trim(slot, text) == text
    other = seen(runner, preparation, 3, [4])
    chunk = Chunk(3, slot, other.tokens, text, len(other.tokens), PARAMS.sampling, media=other.media)
    runner.submit([chunk])
    (result,) = runner.collect()
    assert (result.tokens, result.logprobs) == expected[0]


def test_parked(usual: LlamaRunner) -> None:
    """What idle slots hold goes to main memory, and comes back."""
    preparation = Preparation(usual)
    assert usual.info.offload_tokens
    expected = alone(usual, read(usual, 1, [0], f" Go on.{AFTER}"))
    _empty(usual)
    recorder = Recorder(usual, 96)
    recorder.put(seen(usual, preparation, 2, [0]))
    recorder.all()
    for slot, _ in recorder.scheduler.slots.in_pool():
        usual.offload(slot)
        recorder.scheduler.slots.offload(slot)
    recorder.put(seen(usual, preparation, 3, [0], f" Go on.{AFTER}"))
    assert recorder.all()[3] == expected
    assert recorder.cached[3] > 16


@pytest.mark.parametrize("computed", [10, 40])
def test_preempted_in_its_middle(runner: LlamaRunner, preparation: Preparation, computed: int) -> None:
    """In the first picture, or between two; all of it is computed again."""
    expected = alone(runner, read(runner, 1, [2, 3]))
    _empty(runner)
    recorder = Recorder(runner, budget=computed)
    sequence = seen(runner, preparation, 2, [2, 3])
    recorder.put(sequence)
    recorder.step()
    assert sequence.computed == computed
    recorder.scheduler.preempt(sequence)
    recorder.budget = 256
    assert recorder.all()[2] == expected


def test_several_answers_to_one_picture(runner: LlamaRunner, preparation: Preparation) -> None:
    expected = alone(runner, read(runner, 1, [1]))
    _empty(runner)
    prompt, media = pieces([1])
    work = encode_work([MediaPrompt(prompt)], PARAMS, n=3, media=media)
    made = prepared(runner, work)
    assert made.answer.prompt_tokens == len(made.sequences[0].tokens) and made.answer.media_tokens == {"image": 16}
    recorder = Recorder(runner, 96)
    recorder.put(*made.sequences)
    assert list(recorder.all().values()) == [expected] * 3
