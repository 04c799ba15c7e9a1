"""What llama_decode alone takes for a step of eight rows, and for four steps of two rows with an adapter each: how near
eight clients over four adapters can come to eight who have the model alone. Run: `python -m bench.adapter_limit`.

llama.cpp applies adapters to all rows of a call, so rows of other adapters are other calls. What changing them costs,
what the adapters' own products cost, and what fewer rows a call cost, is measured apart. The context is the engine's,
in a process with its environment.
"""

import argparse
import ctypes
import subprocess
import sys
import time
from collections.abc import Sequence
from os import environ
from statistics import median
from typing import Any

import llama_cpp.llama_cpp as lib
import msgspec

from bench import files, peers
from bench.build_llama_server import ROOT
from bench.kernel_limit import Kernels, Piece
from nitro.engines.client.spawn import ENVIRONMENT
from nitro.engines.scheduling.adapter_turns import LONGEST_TURN

CLIENTS, ADAPTERS = 8, 4
EACH = CLIENTS // ADAPTERS  # clients of an adapter
LENGTH = 1024  # cells of each client
HELD = 64  # tokens of each before it is measured
REPEATS = 9
PATIENCE = 300.0  # seconds


class Costs(msgspec.Struct, frozen=True):
    """Seconds, each the median of several: of a step of all clients, of two of them, both without and with an adapter,
    and of the first step of two after another adapter had its turn."""

    all: float
    all_adapted: float
    few: float
    few_adapted: float
    switched: float

    @property
    def turn(self) -> int:
        """Steps that an adapter has in turn, as many as the engine would give it."""
        return max(int(LONGEST_TURN / self.few_adapted), 1)

    @property
    def tokens_per_second(self) -> float:
        """Of all clients, each with one of the adapters."""
        return EACH * self.turn / (self.switched + (self.turn - 1) * self.few_adapted)

    def lines(self) -> list[str]:
        """For people."""
        base = CLIENTS / self.all
        shares = (
            (f"a step of {CLIENTS} rows", self.all, self.all),
            ("  with an adapter", self.all_adapted, self.all_adapted),
            (f"a step of {EACH} rows", self.few, ADAPTERS * self.few),
            ("  with an adapter", self.few_adapted, ADAPTERS * self.few_adapted),
            ("  the first with it", self.switched, ADAPTERS * self.switched),
        )
        found = [
            f"{1000 * seconds:7.2f} ms  {name}: {self.all / everyone:.2f} of the model's speed"
            for name, seconds, everyone in shares
        ]
        return [*found, f"turns of {self.turn} steps: {self.tokens_per_second / base:.2f}"]


class AdaptedKernels(Kernels):
    """A model, its context, and adapters."""

    def __init__(self, model: str, threads: int, adapters: Sequence[str]):
        """Raises RuntimeError where there is no adapter in a file."""
        super().__init__(model, threads, CLIENTS, LENGTH)
        self._adapters = [lib.llama_adapter_lora_init(self._model.pointer, path.encode()) for path in adapters]
        if not all(self._adapters):
            raise RuntimeError(f"llama.cpp reads no adapter: {self._model.log.first_error}")

    def costs(self) -> Costs:
        """Measure them."""
        everyone = list(range(CLIENTS))
        some = [everyone[i : i + EACH] for i in range(0, CLIENTS, EACH)]
        taken: dict[str, list[float]] = {name: [] for name in Costs.__struct_fields__}
        for _ in range(REPEATS):
            self._apply(None)
            self._step(everyone)
            taken["all"].append(self._step(everyone))
            self._step(some[0])
            taken["few"] += [self._step(clients) for clients in some]
            self._apply(0)
            self._step(everyone)
            taken["all_adapted"].append(self._step(everyone))
            for number, clients in enumerate(some):
                self._apply(number)
                taken["switched"].append(self._step(clients))
                taken["few_adapted"] += [self._step(clients) for _ in range(2)]
        return Costs(**{name: median(seconds) for name, seconds in taken.items()})

    def _apply(self, number: int | None) -> None:
        chosen: list[Any] = [] if number is None else [self._adapters[number]]
        pointers = (lib.llama_adapter_lora_p_ctypes * len(chosen))(*chosen)
        scales = (ctypes.c_float * len(chosen))(*[1.0] * len(chosen))
        lib.llama_set_adapters_lora(self._context, pointers, len(chosen), scales)

    def _step(self, clients: list[int]) -> float:
        """Seconds of a row of each. They hold as much before each step."""
        for client in clients:
            self._hold(client, HELD)
        rows: list[Piece] = [(client, HELD, HELD + 1) for client in clients]
        began = time.perf_counter()
        self._decode(rows)
        return time.perf_counter() - began


def measured(options: argparse.Namespace) -> Costs:
    """Measured in a process of its own. Raises RuntimeError, CalledProcessError."""
    adapters = [str(files.adapter(options.model, number)) for number in range(ADAPTERS)]
    command = [sys.executable, "-m", "bench.adapter_limit", str(options.model), str(options.threads), *adapters]
    said = subprocess.run(
        command, stdout=subprocess.PIPE, cwd=ROOT, env={**environ, **ENVIRONMENT}, check=True, timeout=PATIENCE
    )
    return msgspec.json.decode(said.stdout, type=Costs)


def main() -> None:
    """With a model, threads and adapters: their costs, in JSON. With options alone: the same for people."""
    arguments = sys.argv[1:]
    if len(arguments) == 2 + ADAPTERS:
        model, threads, *adapters = arguments
        costs = AdaptedKernels(model, int(threads), adapters).costs()
        print(msgspec.json.encode(costs).decode())
        return
    parser = argparse.ArgumentParser(prog="python -m bench.adapter_limit", description=__doc__)
    peers.add_options(parser)
    print(*measured(parser.parse_args()).lines(), sep="\n")


if __name__ == "__main__":
    main()
