"""How fast llama_decode alone computes what a server's clients had computed: about what a server on these kernels can
reach, unless it drafts.

There is no HTTP, no sampling and no waiting for a request, and the order is the best there is: KV in streams, all
prompts of a wave in as few calls as possible, then decodes with a row for each client. This runs in a process of its
own, with the engine's settings and environment. It takes a workload per line of JSON, and answers with a `Cost`.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import llama_cpp.llama_cpp as lib
import msgspec

from bench.build_llama_server import ROOT
from bench.measures import METRICS, Turn, by_round
from nitro.bench.client import MeasuredAnswer
from nitro.engines.backends.llama import context, kv_cells
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.client.spawn import ENVIRONMENT
from nitro.engines.hardware.memory import KVPlan
from nitro.engines.types import EngineSpec

LIMIT = "llama_decode alone"
MEASURED = ("tokens/s", "server CPU per token, ms")  # metrics
PATIENCE = 10.0  # seconds that the process has to end
ANSWER_PATIENCE = 300.0  # seconds that it has for the longest workload, on a slow machine


class Share(msgspec.Struct, frozen=True, array_like=True):
    """What one client has computed in a wave, in tokens."""

    cached: int  # of the prompt: there already
    prompt: int  # of the prompt: computed
    answer: int


Wave = list[Share]  # by client; all that is computed together
Piece = tuple[int, int, int]  # client, first token, end


class Cost(msgspec.Struct, frozen=True):
    """What a workload took."""

    seconds: float
    cpu: float  # seconds of CPU time, of all threads


WARM_UP: list[Wave] = [[Share(0, 64, 4)]]


def waves(answers: Sequence[MeasuredAnswer], clients: int) -> list[Wave]:
    """The workload of a server's answers, which are in order of the clients, and of each client in order of time: a
    wave has one request of each client. Raises ValueError where some clients have more than others."""
    each, more = divmod(len(answers), clients)
    if more or not each:
        raise ValueError(f"{len(answers)} answers are not of {clients} clients")
    shares = [Share(a.cached_tokens, a.prompt_tokens - a.cached_tokens, a.tokens) for a in answers]
    return [shares[i::each] for i in range(each)]


def add(values: dict[str, dict[str, list[float]]], alone: list[Turn]) -> None:
    """Add the figures of `KernelProcess.turn` to those of the servers: by metric and server, one per round."""
    for metric in MEASURED:
        if metric in values:
            values[metric][LIMIT] = by_round(METRICS[metric], alone)


def prompt_calls(wave: Wave, room: int) -> list[list[Piece]]:
    """The prompts of a wave for llama_decode, `room` tokens in each call but the last. The last client is first:
    sequences whose numbers fall are computed one by one, so each fills its tiles of attention (slot_kv.py)."""
    calls: list[list[Piece]] = []
    free = 0
    for client, share in reversed(list(enumerate(wave))):
        start, end = share.cached, share.cached + share.prompt
        while start < end:
            if not free:
                calls.append([])
                free = room
            stop = min(end, start + free)
            calls[-1].append((client, start, stop))
            free -= stop - start
            start = stop
    return calls


def decode_calls(wave: Wave) -> list[list[Piece]]:
    """The decodes after the prompts. An answer's first token comes from the prompt, and nothing follows its last."""
    ends = [share.cached + share.prompt for share in wave]
    steps = max(share.answer for share in wave) - 1
    return [
        [(client, ends[client] + i, ends[client] + i + 1) for client, share in enumerate(wave) if i < share.answer - 1]
        for i in range(steps)
    ]


class Kernels:
    """A model and a context as the engine makes them, with all cells from the beginning."""

    def __init__(self, model: str, threads: int, streams: int, length: int):
        """`streams`: clients at most, each with `length` cells. Raises LoadError; RuntimeError where there is no memory
        for the context."""
        spec = EngineSpec("llama", model, context=length, parallel=streams, threads=threads)
        self._model = LlamaModel(spec)
        parameters = context.parameters(self._model, KVPlan(length, length * streams), spec)
        self._context: Any = lib.llama_init_from_model(self._model.pointer, parameters)
        if not self._context:
            raise RuntimeError(f"llama.cpp makes no context: {self._model.log.first_error}")
        self._room = int(lib.llama_n_batch(self._context))
        self._batch = Batch(self._room)

    def compute(self, work: list[Wave]) -> Cost:
        """Compute the waves, one after another. What is cached is made before, and does not count. Raises RuntimeError
        where llama.cpp fails."""
        seconds = cpu = 0.0
        for wave in work:
            for client, share in enumerate(wave):
                self._hold(client, share.cached)
            began, cpu_began = time.perf_counter(), time.process_time()
            for call in (*prompt_calls(wave, self._room), *decode_calls(wave)):
                self._decode(call)
            seconds += time.perf_counter() - began
            cpu += time.process_time() - cpu_began
        return Cost(seconds, cpu)

    def _hold(self, client: int, length: int) -> None:
        """Have so many tokens in the client's sequence."""
        if not lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), client, length, -1):
            kv_cells.clear(self._context, client)  # a recurrent state cannot be cut
        held = kv_cells.held(self._context, client)
        for start in range(held, length, self._room):
            self._decode([(client, start, min(length, start + self._room))])

    def _decode(self, pieces: list[Piece]) -> None:
        # any tokens: how long it takes does not depend on them
        rows = [
            (client, start, [i % self._model.vocabulary for i in range(start, end)]) for client, start, end in pieces
        ]
        code = lib.llama_decode(self._context, self._batch.fill_ids(rows))
        if code:
            raise RuntimeError(f"llama_decode fails with {code}. {self._model.log.last_error}")
        lib.llama_synchronize(self._context)


class KernelProcess:
    """The process, as bench.table sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes]):
        self._process = process
        self._log = log

    def compute(self, work: list[Wave], patience: float = ANSWER_PATIENCE) -> Cost:
        """Have the waves computed, in so many seconds at most. Raises RuntimeError where the process has failed, or is
        killed because it does not answer."""
        assert self._process.stdin and self._process.stdout
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(patience, kill)
        timer.start()
        try:
            self._process.stdin.write(msgspec.json.encode(work) + b"\n")
            self._process.stdin.flush()
            return msgspec.json.decode(self._process.stdout.readline(), type=Cost)
        except (OSError, msgspec.DecodeError):
            if late.is_set():
                raise RuntimeError(f"{LIMIT} has not answered in {patience:g} seconds") from None
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()
            raise RuntimeError(f"{LIMIT} has failed: {said[-300:]}") from None
        finally:
            timer.cancel()

    def turn(self, turn: Turn, clients: int) -> Turn:
        """The turn of a server, as llama_decode alone would have taken it. `clients`: with those whose answers do not
        count. Raises RuntimeError, ValueError."""
        cost = self.compute(waves([*turn.result.answers, *turn.result.others], clients))
        return Turn(replace(turn.result, seconds=cost.seconds, client_cpu=0.0), cost.cpu, None)


@contextmanager
def running(model: Path, threads: int, streams: int, length: int) -> Iterator[KernelProcess]:
    """Start the process, with its model loaded and warm, and end it afterwards. See `Kernels`. Raises RuntimeError."""
    command = [sys.executable, "-m", "bench.kernel_limit", str(model), str(threads), str(streams), str(length)]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=log, cwd=ROOT, env={**os.environ, **ENVIRONMENT}
        ) as process,
    ):
        try:
            kernels = KernelProcess(process, log)
            kernels.compute(WARM_UP)
            yield kernels
        finally:
            assert process.stdin
            with suppress(OSError):  # it has ended, and there was more to write
                process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Compute what stdin says, line by line. Arguments: model, threads, streams, cells of each."""
    threads, streams, length = map(int, sys.argv[2:])
    kernels = Kernels(sys.argv[1], threads, streams, length)
    for line in sys.stdin.buffer:
        cost = kernels.compute(msgspec.json.decode(line, type=list[Wave]))
        sys.stdout.buffer.write(msgspec.json.encode(cost) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
