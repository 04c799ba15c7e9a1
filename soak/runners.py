"""A runner whose process dies on a certain prompt, as in an abort of a library. Used by `--engine MODULE:CLASS`."""

import os
import signal

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.runner import Chunk

POISON = "!poison"


class PoisonedRunner(FakeRunner):
    """The fake runner, which kills its process where a prompt contains POISON."""

    def submit(self, batch: list[Chunk]) -> None:
        """Compute the batch, then look for POISON in it."""
        super().submit(batch)
        if any(POISON.encode() in bytes(token for token in chunk.tokens if token < 256) for chunk in batch):
            os.kill(os.getpid(), signal.SIGKILL)
