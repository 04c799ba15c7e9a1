"""Runners that misbehave on command, for tests of everything above a runner. Given as `--engine runners:Class`."""

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from nitro.engines.backends.fake import EOG, FakeRunner, FakeSeer, FakeTokenizer
from nitro.engines.last_words import OF_THIS_PROCESS as LAST_WORDS
from nitro.engines.runner import Chunk, LoadError, Result, StepFailed
from nitro.engines.types import EngineSpec
from nitro.engines.weights_read import OF_THIS_PROCESS


class GatedRunner(FakeRunner):
    """Waits inside every step until the test, at the other end of the socket that MODEL names, lets it go on.

    Without a MODEL there is no gate.
    """

    def __init__(self, spec: EngineSpec, kv_tokens: int | None = None):
        super().__init__(spec, kv_tokens)
        self._gate = socket.socket(socket.AF_UNIX)
        if spec.model:
            self._gate.connect(spec.model)
            self._gate.recv(1)  # loading lasts until the gate accepts

    def submit(self, batch: list[Chunk]) -> None:
        super().submit(batch)
        self._wait()

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        found = super().embed(sequences)
        self._wait()
        return found

    def _wait(self) -> None:
        try:
            self._gate.sendall(b"?")
            self._gate.recv(1)
        except OSError:
            pass  # no gate, or opened for good


class SlowlyLoaded(GatedRunner):
    """Reads 300 of 1000 bytes, and the rest when the gate accepts."""

    def __init__(self, spec: EngineSpec):
        OF_THIS_PROCESS.begin(1000)
        OF_THIS_PROCESS.add(300)
        super().__init__(spec)


class FaultyRunner(GatedRunner):
    """Fails where a prompt says so: "!step", "!row", "!bug", "!collect" or "!exit"."""

    def submit(self, batch: list[Chunk]) -> None:
        super().submit(batch)
        if failing := [chunk.slot for chunk in batch if _says(chunk, b"!step")]:
            for chunk in batch:
                del self._held[chunk.slot][0 if chunk.slot in failing else chunk.start :]
            raise StepFailed(failing, "a made-up fault")
        if any(_says(chunk, b"!bug") for chunk in batch):
            raise RuntimeError("a made-up bug")
        if any(_says(chunk, b"!exit") for chunk in batch):
            os._exit(3)

    def collect(self) -> list[Result]:
        if any(_says(chunk, b"!collect") for chunk in self._batch):
            raise RuntimeError("a made-up bug in collect")
        results = super().collect()
        return [
            Result([], "a made-up row fault") if _says(chunk, b"!row") else result
            for chunk, result in zip(self._batch, results, strict=True)
        ]

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        found = super().embed(sequences)
        said = b" ".join(bytes(token for token in tokens if token < 256) for tokens in sequences)
        if b"!bug" in said:
            raise RuntimeError("a made-up bug")
        if b"!exit" in said:
            os._exit(3)
        nothing = bytes(len(found[0]))
        return [
            nothing if b"!zero" in bytes(tokens) else vector for tokens, vector in zip(sequences, found, strict=True)
        ]


# What libraries say where there is no memory: MLX on CUDA and on Metal, and Python.
SHORTAGES = {
    b"!cuda": RuntimeError("cudaMallocManaged(&buf->data, size) failed: out of memory"),
    b"!metal": RuntimeError("[metal::malloc] Attempting to allocate 17179869184 bytes, which is too much."),
    b"!python": MemoryError(),
}


class LackingRunner(FakeRunner):
    """Has no memory where a prompt says so: "!cuda", "!metal", "!python"; and ends as ggml does at "!abort"."""

    def submit(self, batch: list[Chunk]) -> None:
        for word, error in SHORTAGES.items():
            if any(_says(chunk, word) for chunk in batch):
                raise error
        if any(_says(chunk, b"!abort") for chunk in batch):
            for line in ("CUDA error: out of memory", "  current device: 0, in function alloc at ggml-cuda.cu:97"):
                LAST_WORDS.note(line)
            os.abort()
        super().submit(batch)

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        for tokens in sequences:
            for word, error in SHORTAGES.items():
                if word in bytes(tokens):
                    raise error
        return super().embed(sequences)


class LackingTokenizer(FakeRunner):
    """Has no memory for a text that says "!python"."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.tokenizer = _Lacking()


class _Lacking(FakeTokenizer):
    def encode(self, text: str) -> list[int]:
        if "!python" in text:
            raise MemoryError
        return super().encode(text)


def _says(chunk: Chunk, word: bytes) -> bool:
    return word in bytes(token for token in chunk.tokens if token < 256)


class Gate:
    """The test's end of a GatedRunner."""

    def __init__(self, folder: Path, name: str = "gate"):
        self.path = str(folder / name)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(60)
        self._listener.bind(self.path)
        self._listener.listen()
        self._runner: socket.socket | None = None

    def hold(self) -> None:
        """Wait for the (next) runner, which goes on loading."""
        if self._runner:
            self._runner.close()
        self._runner, _ = self._listener.accept()
        self._runner.settimeout(60)

    def accept(self) -> "Gate":
        """Let the (next) runner connect: its model is loaded then."""
        self.hold()
        self.greet()
        return self

    def greet(self) -> None:
        """The runner that was held has loaded its model."""
        assert self._runner
        self._runner.sendall(b"+")

    def wait_inside(self) -> None:
        """Return when the engine is inside a step, computing."""
        assert self._runner and self._runner.recv(1) == b"?"

    def let_go(self) -> None:
        assert self._runner
        self._runner.sendall(b"!")

    def step(self, count: int = 1) -> None:
        """Let that many steps happen, one after another."""
        for _ in range(count):
            self.wait_inside()
            self.let_go()

    def open(self) -> None:
        """No gate any more."""
        if self._runner:
            self._runner.close()
            self._runner = None

    def close(self) -> None:
        self.open()
        self._listener.close()


class MumblingRunner(GatedRunner):
    """Its "C" is nothing that can be told."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.tokenizer = _Mumbling()


class _Mumbling(FakeTokenizer):
    def token_bytes(self, token: int) -> bytes:
        return object() if token == ord("C") else super().token_bytes(token)


class PonderingRunner(GatedRunner):
    """Tokenises when the gate lets it."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.tokenizer = _Pondering(self._wait)


class _Pondering(FakeTokenizer):
    def __init__(self, wait: Callable[[], None]):
        self._wait = wait

    def encode(self, text: str) -> list[int]:
        self._wait()
        return super().encode(text)


class ForgetfulRunner(FakeRunner):
    """The first that loads writes a file, MODEL; the others find it, and cannot be loaded."""

    def __init__(self, spec: EngineSpec):
        if Path(spec.model).exists():
            raise LoadError("This model cannot be loaded again, says the test.")
        super().__init__(spec)
        Path(spec.model).touch()


class ShelfRunner(GatedRunner):
    """One of several models in a folder. Beside its file MODEL.gguf may lie MODEL.gate, the socket of its gate, and
    MODEL.refuse, which says why it cannot be loaded. It answers with the letters of its file's name, over and over."""

    def __init__(self, spec: EngineSpec):
        file = Path(spec.model)
        if (why := file.with_suffix(".refuse")).exists():
            raise LoadError(why.read_text())
        gate = file.with_suffix(".gate")
        super().__init__(replace(spec, model=str(gate) if gate.exists() else ""))
        self.info = replace(self.info, draft_tokens=0)
        self._letters = file.stem.encode()

    def _next(self, chunk: Chunk) -> int:
        said = len(chunk.tokens) - chunk.prompt_length
        return self._letters[said % len(self._letters)]


class UnloadableRunner:
    def __init__(self, spec: EngineSpec):
        raise LoadError("This model cannot be loaded, says the test.")


class TightRunner(GatedRunner):
    """A KV pool of little more than one context."""

    def __init__(self, spec: EngineSpec):
        assert spec.context
        super().__init__(spec, kv_tokens=spec.context + 100)


class PlainRunner(FakeRunner):
    """A model without a chat template."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.info = replace(self.info, template=None)


class InfillRunner(FakeRunner):
    """Fills in the middle: "<beginning|end>"."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.info = replace(self.info, infill=("<", "|", ">"))


class BeginningRunner(FakeRunner):
    """Its texts begin with a token that marks their beginning: "^"."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.info = replace(self.info, bos="^", adds_bos=True)


class SayingRunner(FakeRunner):
    """Answers with what stands in the prompt between its last pair of ␂ and ␃, one byte a token, as far as it may."""

    def _candidates(self, chunk: Chunk) -> list[int]:
        text = bytes(token for token in chunk.tokens[: chunk.prompt_length] if token >= 0)
        script = text.rpartition("␂".encode())[2].partition("␃".encode())[0]
        said = len(chunk.tokens) - chunk.prompt_length
        return [script[said] if said < len(script) else EOG, EOG, *range(256)]

    def _next(self, chunk: Chunk) -> int:
        return self._candidates(chunk)[0]


class HearingRunner(SayingRunner, FakeSeer):
    """The same, which also sees and hears. Where there is no ␂ it says its prompt."""


class TalkingRunner(FakeRunner):
    """Says much on standard output and error at every step, through Python and past it."""

    def submit(self, batch: list[Chunk]) -> None:
        super().submit(batch)
        logging.getLogger("talk").info("x" * 20_000)
        os.write(1, b"x" * 20_000 + b"\n")
        os.write(2, b"by the library\n")
        print("by Python", file=sys.stderr)


class WithoutEmbeddings(FakeRunner):
    """A model that makes none."""

    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.info = replace(self.info, embedding=None)
