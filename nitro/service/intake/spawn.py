"""Starts a process that reads requests. Needs no event loop, and imports little: `nitro serve` does it early."""

from collections.abc import Sequence

from nitro.service.intake.messages import Import
from nitro.system.spawn import Spawned, spawn

WORKER = "nitro.service.intake.worker"


def start(readers: Sequence[str]) -> Spawned:
    """A process that imports these readers, as "module:function", and waits for requests. Raises OSError, as `spawn`
    does."""
    child = spawn(WORKER)
    child.send(Import(list(readers)))
    return child
