"""The engine thread's loop, run on this thread with a fake runner; and where prompts may part."""

import time
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from nitro.engines import messages
from nitro.engines.backends.fake import EOG, FakeRunner, FakeTokenizer
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.embedding_queue import Piece
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.engines.worker.commands import AbortSequences, AddEmbedding, AddSequences
from nitro.engines.worker.embeddings import EmbeddingTask
from nitro.engines.worker.loop import EngineLoop, Inbox
from nitro.engines.worker.outbox import Outbox
from nitro.engines.worker.preparation import snapshot_points
from nitro.engines.worker.slot_reports import SlotReports


class Rested(Exception):
    pass


class ShortLived(FakeRunner):
    """The first time that it rests, more work comes; the second time ends the loop."""

    def __init__(self, inbox: Inbox):
        super().__init__(EngineSpec("fake", "", context=64))
        self._inbox, self._rested = inbox, False

    def release_idle_memory(self) -> None:
        if self._rested:
            raise Rested
        self._rested = True
        self._inbox.put(AddSequences([Sequence(3, [32] * 5, 2, SamplingParams())]))


def test_the_runner_rests_when_nothing_is_left_to_do() -> None:
    """Not between the steps of a request, nor before the last of it is handed out."""
    inbox, outbox = Inbox(), Outbox()
    for id in (1, 2):
        inbox.put(AddSequences([Sequence(id, [32] * 5, 3, SamplingParams())]))
    inbox.put(AbortSequences([2]))
    with pytest.raises(Rested):
        EngineLoop(ShortLived(inbox), inbox, outbox).run()
    outputs = []
    while not outbox.empty():
        outputs += outbox.get().outputs
    assert [(o.id, o.finish) for o in outputs if o.finish] == [(1, "length"), (3, "length")]


def test_who_has_a_slot_is_told_after_the_step_that_gave_it() -> None:
    """However soon after the last report: the next step may last long. All else waits for its time."""
    inbox, outbox = Inbox(), Outbox()
    inbox.put(AddSequences([Sequence(1, [32] * 5, 20, SamplingParams())]))
    loop = EngineLoop(ShortLived(inbox), inbox, outbox)
    loop.slot_reports = SlotReports(loop._scheduler, outbox, clock=lambda: 0.0)
    loop.slot_reports.watch(True)
    with pytest.raises(Rested):
        loop.run()
    told = []
    while not outbox.empty():
        if isinstance(message := outbox.get(), messages.Slots):
            told.append([(state.id, state.held) for state in message.slots if state.id is not None])
    assert [states for states in told if states] == [[(1, 5)], [(3, 5)]]
    assert told[0] == told[-1] == []


def test_a_draft_model_guesses_before_the_step() -> None:
    """It is right until "x", for which it says something else. The answer is the same."""
    inbox, outbox = Inbox(), Outbox()
    runner = ShortLived(inbox)
    runner.info = replace(runner.info, has_draft_model=True, draft_tokens=8)
    runner.draft_model = lambda tokens: tokens[-1] + 1 if tokens[-1] + 1 != ord("x") else 1
    inbox.put(AddSequences([Sequence(1, [ord("@")], 60, SamplingParams())]))
    with pytest.raises(Rested):
        EngineLoop(runner, inbox, outbox).run()
    outputs = []
    while not outbox.empty():
        outputs += [output for output in outbox.get().outputs if output.id == 1]
    assert bytes(token for output in outputs for token in output.tokens[:60]) == bytes(range(ord("A"), ord("A") + 60))
    drafts = [output for output in outputs if output.drafted]
    assert drafts and all(output.modelled and not output.predicted for output in drafts)
    assert sum(output.accepted for output in drafts) > 0


class Pausing(FakeRunner):
    """Embeds one input after the other, each in 4 seconds, and pauses in between; text comes in tenths of a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        super().__init__(EngineSpec("fake", "", context=64))
        assert self.info.embedding
        self.info = replace(self.info, embedding=replace(self.info.embedding, pauses=True))
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        found: list[bytes] = []
        for tokens in sequences:
            if found:
                meanwhile()
            found += super().embed([tokens])
            self.now += 4
        return found

    def submit(self, batch: list[Chunk]) -> None:
        super().submit(batch)
        self.now += 0.1

    def release_idle_memory(self) -> None:
        raise Rested


def inputs(count: int) -> AddEmbedding:
    return AddEmbedding(EmbeddingTask(1, [Piece(1, place, [65]) for place in range(count)], [1] * count, None))


def test_text_is_generated_within_a_step_of_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the server is told that it goes on, and at the end how long it took without the text."""
    inbox, outbox = Inbox(), Outbox()
    inbox.put(inputs(6))
    inbox.put(AddSequences([Sequence(2, [32], 30, SamplingParams())]))
    runner = Pausing(monkeypatch)
    loop = EngineLoop(runner, inbox, outbox)

    with pytest.raises(Rested):
        loop.run()
    told = []
    while not outbox.empty():
        told.append(outbox.get())
    assert isinstance(told[-1], messages.Embedded) and told[-1].places == [0, 1, 2, 3, 4, 5]
    steps = [message for message in told if isinstance(message, messages.Step)]
    (last,) = (message.record for message in steps if message.record.embedded)
    assert steps[-1].record is last and last.seconds == pytest.approx(24), "all text came before it"
    assert any(output.finish == "length" for message in steps for output in message.outputs)
    alive = [message.record for message in steps if not (message.outputs or message.record.embedded)]
    assert alive and not any(record.rows or record.seconds for record in alive)


class Broken:
    """A command that raises."""

    def run(self, loop: EngineLoop) -> None:
        raise LookupError("a made-up bug of the engine's own")


def test_what_breaks_within_a_step_of_embeddings_is_no_fault_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the engine process, as it does anywhere else."""
    inbox, outbox = Inbox(), Outbox()

    class Breaking(Pausing):
        def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
            inbox.put(Broken())
            return super().embed(sequences, meanwhile)

    inbox.put(inputs(2))
    with pytest.raises(LookupError):
        EngineLoop(Breaking(monkeypatch), inbox, outbox).run()
    assert outbox.empty()


@pytest.mark.parametrize(
    ("controls", "points"),
    [((0, 20, 25, 40), (20, 40)), ((0, 20), (20,)), ((0, 15), ()), ((), ())],
)
def test_messages_part_at_control_tokens(controls: tuple[int, ...], points: tuple[int, ...]) -> None:
    """At the first that is worth its while, and at the last, which opens the answer."""
    prompt = [EOG if i in controls else 65 for i in range(50)]
    assert snapshot_points(prompt, FakeTokenizer()) == points
