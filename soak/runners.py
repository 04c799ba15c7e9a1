"""A runner whose process ends on a certain prompt, as an abort in a library would end it. `--engine MODULE:CLASS`."""

import os
import signal

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.runner import Chunk

POISON = "!poison"


class PoisonedRunner(FakeRunner):
    def submit(self, batch: list[Chunk]) -> None:
        super().submit(batch)
        if any(POISON.encode() in bytes(token for token in chunk.tokens if token < 256) for chunk in batch):
            os.kill(os.getpid(), signal.SIGKILL)
