"""What the engine thread is asked to do between two steps. A verb of the wire that needs this thread adds a command."""

from dataclasses import dataclass

from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.worker.loop import EngineLoop


@dataclass(frozen=True, slots=True)
class AddSequences:
    """Queue the sequences of one request."""

    sequences: list[Sequence]

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.add(self.sequences)


@dataclass(frozen=True, slots=True)
class AbortSequences:
    """End these sequences, in whatever state they are. Unknown ids are ignored."""

    ids: list[int]

    def run(self, loop: EngineLoop) -> None:
        """See loop.Command."""
        loop.abort(self.ids)
