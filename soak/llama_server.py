"""llama-server, for sections that measure it beside our server."""

import argparse
from pathlib import Path

from bench import peers, processes
from bench.workloads import SERVER, Workload
from nitro.bench.scenarios import independent


def command(options: argparse.Namespace, model: str, slots: int = 8, context: int = 512) -> processes.Command:
    """llama-server with this model, a GGUF file, and as many slots as `nitro serve` has: each with `context` tokens.
    It is built unless `options` name one."""
    setting = Workload("soak", slots, context, independent(1, 1))
    theirs = argparse.Namespace(**{**vars(options), "model": Path(model)})
    made = peers.PEERS[SERVER](theirs, setting).command
    assert made
    return made
