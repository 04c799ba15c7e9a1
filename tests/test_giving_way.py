"""What becomes of requests for which a device has no memory: they end with an error only if they do not fit alone, and
every other one is answered. A real engine loop, and a device whose memory is counted."""

import queue
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.engines.backends.fake import EOG, FakeRunner
from nitro.engines.messages import Step
from nitro.engines.runner import Chunk, OutOfMemory
from nitro.engines.scheduling.giving_way import LEAST_CHUNK
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import EngineSpec, Output, SamplingParams
from nitro.engines.worker.loop import EngineLoop
from nitro.engines.worker.outbox import Outbox

CONTEXT = 1000
MOST_STEPS = 20_000


class Device(FakeRunner):
    """Has memory for `size` tokens that it holds, and for the batch: `row` tokens' worth for each of it. Without, it
    loses nothing, the slots of the batch, or all, by `loses`."""

    def __init__(self, size: float, row: float = 0.0, loses: str = "nothing", parallel: int = 4):
        super().__init__(EngineSpec(engine="fake", model="", context=CONTEXT, parallel=parallel))
        self.size, self.row, self.loses = size, row, loses
        self.shortages = 0

    def needs(self, held: int, computed: int) -> float:
        return held + computed * (1 + self.row)

    def submit(self, batch: list[Chunk]) -> None:
        held = sum(map(len, self._held))
        if self.needs(held, sum(chunk.size for chunk in batch)) <= self.size:
            return super().submit(batch)
        self.shortages += 1
        slots = [chunk.slot for chunk in batch]
        match self.loses:
            case "nothing":
                raise OutOfMemory("It is full.", [])
            case "the batch":
                for slot in slots:
                    self._held[slot] = []
                raise OutOfMemory("It is full.", slots)
            case "all":
                self._held = [[1] for _ in self._held]  # what nobody can use
                raise OutOfMemory("It is full.", None)
        raise RuntimeError("cudaMallocManaged(&buf, size) failed: out of memory")

    def fits_alone(self, length: int, chunk: int) -> bool:
        """Whether a sequence of so many tokens is computed, by so many at a time."""
        return self.needs(length, chunk) <= self.size


def run(device: Device, prompts: list[int], max_tokens: int) -> dict[int, Output]:
    """The last output of each of these sequences, whose prompts have so many tokens, with all its tokens."""
    outbox = Outbox()
    loop = EngineLoop(device, queue.SimpleQueue(), outbox)
    greedy = SamplingParams(logit_bias={EOG: -inf})
    sequences = [Sequence(id, [40 + id] * length, max_tokens, greedy) for id, length in enumerate(prompts, 1)]
    for sequence in sequences:
        loop.add([sequence])
    ended: dict[int, Output] = {}
    tokens: dict[int, list[int]] = {sequence.id: [] for sequence in sequences}
    for _ in range(MOST_STEPS):
        loop._step()
        for message in outbox.take(10):
            assert isinstance(message, Step)
            for output in message.outputs:
                tokens[output.id] += output.tokens
                if output.finish:
                    ended[output.id] = output
        if not loop._scheduler.busy:
            break
    assert len(ended) == len(prompts), "some never end"
    assert loop._scheduler.slots.idle == device.info.slots
    for id, output in ended.items():
        right = [32 + (40 + id - 31 + place) % 95 for place in range(max_tokens)]
        assert tokens[id] == right[: len(tokens[id])] and (output.finish == "error" or tokens[id] == right)
    return ended


LOSSES = ["nothing", "the batch", "all", "an exception"]


@pytest.mark.parametrize("loses", LOSSES)
def test_what_does_not_fit_fails_alone_and_the_others_are_answered(loses: str) -> None:
    device = Device(500, loses=loses)
    ended = run(device, [20, 700, 30, 40], max_tokens=30)
    assert [output.finish for _, output in sorted(ended.items())] == ["length", "error", "length", "length"]
    assert ended[2].too_large and "There is no memory for this request, though nothing else" in (ended[2].error or "")


@pytest.mark.parametrize("loses", LOSSES)
def test_what_fits_alone_is_computed_alone(loses: str) -> None:
    """Three requests, any two of which are too much together."""
    ended = run(Device(500, loses=loses), [300, 310, 320], max_tokens=50)
    assert {output.finish for output in ended.values()} == {"length"}


@pytest.mark.parametrize("loses", LOSSES)
def test_a_prompt_that_is_too_much_at_once_is_computed_in_small_pieces(loses: str) -> None:
    """Each token of it takes three more while it is computed."""
    device = Device(800, row=3.0, loses=loses)
    assert not device.needs(0, 500) <= device.size
    ended = run(device, [500], max_tokens=20)
    assert ended[1].finish == "length"
    assert device.shortages <= 8


def test_idle_caches_give_way_before_anybody_waits() -> None:
    device = Device(600)
    outbox = Outbox()
    loop = EngineLoop(device, queue.SimpleQueue(), outbox)
    for id, length in ((1, 400), (2, 500)):
        loop.add([Sequence(id, [40 + id] * length, 5, SamplingParams(logit_bias={EOG: -inf}))])
        while loop._scheduler.busy:
            loop._step()
    assert device.shortages == 1
    assert [len(held) for held in device._held if held] == [504]
    preempted = [message.record.preempted for message in outbox.take(100) if isinstance(message, Step)]
    assert not any(preempted)


@settings(deadline=None, max_examples=150)
@given(
    size=st.integers(50, 1500),
    row=st.sampled_from([0.0, 0.5, 4.0]),
    loses=st.sampled_from(LOSSES),
    parallel=st.integers(1, 5),
    prompts=st.lists(st.integers(1, 900), min_size=1, max_size=7),
    max_tokens=st.integers(1, 90),
)
def test_a_request_fails_only_if_it_does_not_fit_alone(
    size: int, row: float, loses: str, parallel: int, prompts: list[int], max_tokens: int
) -> None:
    device = Device(size, row, loses, parallel)
    for id, output in run(device, prompts, max_tokens).items():
        length = prompts[id - 1] + max_tokens
        if device.fits_alone(length, 2 * LEAST_CHUNK):
            assert output.finish == "length"
        if not device.fits_alone(length - 2, 1):
            assert output.finish == "error" and output.too_large
