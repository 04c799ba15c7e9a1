"""How fast llama_encode alone embeds: about what a server on these kernels can reach.

There is no HTTP, no tokenizer and no waiting for a request, and texts are put together as the engine puts them: of one
client a text at a time, with all threads; of several as many as a step takes, in its lanes. This runs in a process of
its own, with the engine's settings and environment. It takes a `Work` per line of JSON, and answers with a rate.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.build_llama_server import ROOT
from nitro.engines.backends.llama.embedding_runner import LlamaEmbeddingRunner
from nitro.engines.backends.llama.opening import open_model
from nitro.engines.client.spawn import ENVIRONMENT
from nitro.engines.types import EngineSpec

LIMIT = "llama_encode alone"
PATIENCE = 10.0  # seconds that the process has to end


class Work(msgspec.Struct, frozen=True, array_like=True):
    """What is to be measured."""

    clients: int  # so many texts are there at a time
    tokens: int  # of each
    seconds: float


class EncodeProcess:
    """The process, as bench.embeddings sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]"):
        self._process = process

    def rate(self, work: Work) -> float:
        """Texts a second. Raises RuntimeError where the process has failed."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(msgspec.json.encode(work) + b"\n")
            self._process.stdin.flush()
            return msgspec.json.decode(self._process.stdout.readline(), type=float)
        except (OSError, msgspec.DecodeError):
            raise RuntimeError(f"{LIMIT} has failed; it has said why") from None


@contextmanager
def running(model: Path, threads: int) -> Iterator[EncodeProcess]:
    """Start the process, with its model loaded, and end it afterwards. Raises RuntimeError."""
    command = [sys.executable, "-m", "bench.encode_limit", str(model), str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env={**os.environ, **ENVIRONMENT}) as process:
        try:
            yield EncodeProcess(process)
        finally:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def measure(runner: LlamaEmbeddingRunner, work: Work) -> float:
    """Texts a second, of new tokens each time."""
    about = runner.info.embedding
    assert about
    together = min(work.clients, about.step_inputs, max(about.lanes, about.step_tokens // work.tokens))
    chance, count = random.Random(0), 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < work.seconds:
        texts = [[chance.randrange(runner.info.vocabulary) for _ in range(work.tokens)] for _ in range(together)]
        runner.embed(texts)
        count += together
    return count / took


def main() -> None:
    """Measure what stdin says, line by line. Arguments: model, threads."""
    model, threads = sys.argv[1], int(sys.argv[2])
    runner = open_model(EngineSpec("llama", model, threads=threads))
    assert isinstance(runner, LlamaEmbeddingRunner), "it is no embedding model"
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(msgspec.json.encode(measure(runner, msgspec.json.decode(line, type=Work))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
