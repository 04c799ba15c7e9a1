"""What llama.cpp and ggml say when they cannot compute, and what is left of the slots then."""

import os
import subprocess
import sys
from pathlib import Path

import llama_cpp.llama_cpp as lib
import pytest

from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.crash_marks import CrashMarks, shared_memory
from nitro.engines.runner import Chunk, OutOfMemory, StepFailed
from nitro.engines.types import EngineSpec, SamplingParams

TOKENS = list(range(3, 60))
GREEDY = SamplingParams(temperature=0)


def batch() -> list[Chunk]:
    """A sequence that goes on, and one that begins."""
    return [Chunk(1, 0, TOKENS, 20, len(TOKENS), GREEDY), Chunk(2, 1, TOKENS, 0, 40, GREEDY)]


def begun(model: Path) -> LlamaRunner:
    runner = LlamaRunner(EngineSpec("llama", str(model), context=256, parallel=2))
    runner.submit([Chunk(1, 0, TOKENS, 0, 20, GREEDY)])
    runner.collect()
    return runner


def test_a_step_that_cannot_be_computed_leaves_the_slots_as_they_were(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though some of it was computed: llama.cpp keeps that."""
    runner = begun(model)
    compute = lib.llama_decode
    try:
        runner.submit(batch())
        right = runner.collect()
        for slot, length in ((0, 20), (1, 0)):
            assert runner.trim(slot, length) == length
        monkeypatch.setattr(lib, "llama_decode", lambda *call: (compute(*call), -2)[1])
        with pytest.raises(OutOfMemory, match="code -2") as caught:
            runner.submit(batch())
        assert caught.value.lost == []
        monkeypatch.undo()
        runner.submit(batch())
        assert [result.tokens for result in runner.collect()] == [result.tokens for result in right]
    finally:
        runner.close()


def test_a_batch_that_is_wrong_is_no_want_of_memory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = begun(model)
    try:
        monkeypatch.setattr(lib, "llama_decode", lambda *call: -1)
        with pytest.raises(StepFailed, match="code -1") as caught:
            runner.submit(batch())
        assert sorted(caught.value.slots) == [0, 1]
    finally:
        runner.close()


def test_a_context_that_is_gone_costs_all(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger one cannot be made, and the one before cannot be made again."""
    runner = LlamaRunner(EngineSpec("llama", str(model), context=4096, parallel=1))
    long = [3 + number % 50 for number in range(4000)]
    try:
        monkeypatch.setattr(lib, "llama_init_from_model", lambda *call: None)
        with pytest.raises(OutOfMemory, match="cannot make a context") as caught:
            for start in range(0, 3840, 256):
                runner.submit([Chunk(1, 0, long, start, start + 256, GREEDY)])
                runner.collect()
        assert caught.value.lost is None
        monkeypatch.undo()
        runner.reset()
        runner.submit([Chunk(1, 0, TOKENS, 0, len(TOKENS), GREEDY)])
        assert len(runner.collect()[0].tokens) == 1
    finally:
        runner.close()


ABORTS = """
import sys
from llama_cpp._ggml import libggml
from nitro.engines.backends.llama import library
from nitro.engines.crash_marks import CrashMarks
from nitro.engines.last_words import OF_THIS_PROCESS
OF_THIS_PROCESS.write_to(CrashMarks(int(sys.argv[1])))
libggml.ggml_abort(b"ggml-cuda.cu", 97, b"CUDA error")
"""


def test_the_last_words_of_ggml_outlive_it() -> None:
    fd = shared_memory()
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    ended = subprocess.run([sys.executable, "-c", ABORTS, str(fd)], pass_fds=(fd,), env=environment, check=False)
    marks = CrashMarks(fd)
    os.close(fd)
    assert ended.returncode < 0
    assert "ggml-cuda.cu:97: CUDA error" in marks.words()[0]
