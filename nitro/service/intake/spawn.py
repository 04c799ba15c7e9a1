"""Starts a process that reads requests. Needs no event loop, and imports little: `nitro serve` does it early."""

from collections.abc import Sequence

from nitro.service.intake.messages import Import
from nitro.system.spawn import Spawned, spawn

WORKER = "nitro.service.intake.worker"


MEMORY = 4096  # MiB of address space


def start(readers: Sequence[str], memory: int = MEMORY) -> Spawned:
    """A process that imports these readers, as "module:function", and waits for requests. `memory`: MiB of address
    space that it may take. Raises OSError, as `spawn` does."""
    child = spawn(WORKER)
    child.send(Import(list(readers), memory))
    return child
