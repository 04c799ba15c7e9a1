"""What the engine thread is asked to do between two steps. A verb of the wire that needs this thread adds a command."""

from dataclasses import dataclass

from nitro.engines import messages
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.worker.embeddings import EmbeddingTask
from nitro.engines.worker.loop import EngineLoop


@dataclass(frozen=True, slots=True)
class AddSequences:
    """Queue the sequences of one request."""

    sequences: list[Sequence]

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.add(self.sequences)


@dataclass(frozen=True, slots=True)
class AddEmbedding:
    """Queue the inputs of one request."""

    task: EmbeddingTask

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.embeddings.add(self.task)


@dataclass(frozen=True, slots=True)
class AbortSequences:
    """End these sequences or embeddings, in whatever state they are. Unknown ids are ignored."""

    ids: list[int]

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.abort(self.ids)


@dataclass(frozen=True, slots=True)
class LoadAdapter:
    """Have an adapter."""

    message: messages.LoadAdapter

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        source = self.message.source
        with loop.stored.noting(source.id, source.path):
            loop.adapters.load(self.message)


@dataclass(frozen=True, slots=True)
class DropAdapter:
    """Free an adapter, as soon as nothing applies it."""

    message: messages.DropAdapter

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.adapters.drop(self.message)


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell what the slots hold, or tell it no more."""

    active: bool

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.slot_reports.watch(self.active)


@dataclass(frozen=True, slots=True)
class PrefixFetched:
    """A file of a prefix was read, or is not there."""

    name: str
    state: memoryview | None

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        for sequences in loop.stored.arrived(self.name, self.state):
            loop.queue(sequences)


@dataclass(frozen=True, slots=True)
class Save:
    """End all sequences, and write what the slots hold to files."""

    seconds: float

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.save(self.seconds)


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget all prefixes."""

    id: int

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.forget(self.id)
