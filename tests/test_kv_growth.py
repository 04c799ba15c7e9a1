"""llama.cpp's KV cache on the CPU has as many cells as are used: it grows and shrinks, and no answer tells."""

from collections.abc import Iterator
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from llama_scorer import LlamaScorer
from same_answer import tolerance
from tiny_families import write_family
from tiny_models import write_gguf

from nitro.engines.backends.llama import context, kv_cells, library
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.hardware import memory
from nitro.engines.hardware.libraries import Device
from nitro.engines.runner import Chunk, OutOfKV
from nitro.engines.types import EngineSpec, SamplingParams

CONTEXT = 8192
LONG = 3000  # tokens: more than the first cells of any layout
TOKENS = [3 + i * 7 % 200 for i in range(LONG)]
FEW = TOKENS[50:150]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def scorer(tiny: Path) -> Iterator[LlamaScorer]:
    scorer = LlamaScorer(tiny, context=CONTEXT, parallel=2)
    yield scorer
    scorer.close()


@pytest.fixture
def whole(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaScorer]:
    """One that has all its cells from the beginning."""
    monkeypatch.setattr(context, "FIRST_CELLS", 10**6)
    scorer = LlamaScorer(tiny, context=CONTEXT, parallel=2)
    yield scorer
    scorer.close()


def cells(runner: LlamaRunner) -> int:
    return int(lib.llama_n_ctx(runner._context.pointer))


def fill(scorer: LlamaScorer, slot: int, tokens: list[int], held: int = 0) -> None:
    """Compute tokens behind those that it has, through `submit`, which grows the cache."""
    whole = [0] * held + tokens + [0]
    for start in range(held, len(whole) - 1, 512):
        stop = min(start + 512, len(whole) - 1)
        scorer.submit([Chunk(1, slot, whole, start, stop, SamplingParams())])
        scorer.collect()


def last_logits(scorer: LlamaScorer, slot: int, tokens: list[int]) -> np.ndarray:
    return scorer.extend(slot, tokens, len(tokens) - 1, len(tokens))[0]


def test_it_grows_with_what_is_computed(scorer: LlamaScorer, whole: LlamaScorer) -> None:
    """Up to what is planned, and gives bit by bit what a whole one gives."""
    assert cells(whole) == whole.info.kv_tokens == scorer.info.kv_tokens
    assert cells(scorer) <= 2 * context.STEP_TOKENS
    for one in (scorer, whole):
        fill(one, 1, FEW[:-1])
        fill(one, 0, TOKENS[:-1])
    assert LONG <= cells(scorer) <= scorer.info.kv_tokens
    for slot, text in ((0, TOKENS), (1, FEW)):
        assert np.array_equal(last_logits(scorer, slot, text), last_logits(whole, slot, text))


def test_an_idle_one_shrinks_to_what_is_used(scorer: LlamaScorer) -> None:
    first = cells(scorer)
    explained = tolerance(scorer, FEW)  # attention over fewer cells adds up in another order
    scorer.trim(0, 0)
    fill(scorer, 1, FEW[:-1])
    fill(scorer, 0, TOKENS[:-1])
    expected = last_logits(scorer, 1, FEW)
    assert scorer.trim(1, 99) == 99
    scorer.release_idle_memory()
    assert cells(scorer) > first, "what is cached stays"
    scorer.trim(0, 0)
    scorer.release_idle_memory()
    assert cells(scorer) == first
    assert np.abs(last_logits(scorer, 1, FEW) - expected).max() <= explained


def test_what_was_offloaded_finds_room(scorer: LlamaScorer) -> None:
    explained = tolerance(scorer, FEW)
    scorer.trim(0, 0)
    fill(scorer, 0, TOKENS[:-1])
    expected = last_logits(scorer, 0, TOKENS)
    scorer.trim(0, LONG - 1)
    scorer.offload(0)
    scorer.release_idle_memory()
    assert cells(scorer) < LONG
    assert scorer.trim(0, LONG - 1) == LONG - 1
    assert np.abs(last_logits(scorer, 0, TOKENS) - expected).max() <= explained


def test_no_memory_to_grow_is_no_room(scorer: LlamaScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler makes room then, and what the slots hold is still there."""
    fill(scorer, 1, FEW[:-1])
    with monkeypatch.context() as patch:
        patch.setattr(memory, "free_host_memory", lambda: 0)
        with pytest.raises(OutOfKV):
            fill(scorer, 0, TOKENS)
    assert scorer.trim(1, 99) == 99
    scorer.trim(0, 0)
    fill(scorer, 0, TOKENS)


def test_a_context_that_cannot_be_made_leaves_the_old_one(scorer: LlamaScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(scorer, 1, FEW[:-1])
    before = cells(scorer)
    make = lib.llama_init_from_model
    monkeypatch.setattr(
        lib, "llama_init_from_model", lambda model, wanted: make(model, wanted) if wanted.n_ctx == before else None
    )
    with pytest.raises(OutOfKV):
        fill(scorer, 0, TOKENS)
    assert scorer.trim(1, 99) == 99


def test_a_window_model_goes_on_after_growth(tmp_path: Path) -> None:
    """llama.cpp uses masked cells first in a context that was restored, even where others are free. A cut that would
    need them says so."""
    scorer = LlamaScorer(write_family(tmp_path / "tiny.gguf", "gemma3"), context=CONTEXT, parallel=2)
    assert scorer.info.can_truncate
    fill(scorer, 1, TOKENS[:600])
    expected = last_logits(scorer, 1, TOKENS[:601])
    fill(scorer, 0, TOKENS)
    assert cells(scorer) >= LONG
    kept = scorer.trim(0, 600)
    assert kept in (0, 600)
    fill(scorer, 0, TOKENS[kept:600], kept)
    assert np.abs(last_logits(scorer, 0, TOKENS[:601]) - expected).max() <= tolerance(scorer, FEW)
    assert scorer.trim(1, 601) == 601
    scorer.close()


def test_deterministic_grows_too(tiny: Path) -> None:
    runner = LlamaRunner(EngineSpec("llama", str(tiny), context=4096, parallel=1, deterministic=True))
    first = cells(runner)
    fill(runner, 0, TOKENS)
    assert cells(runner) > first and kv_cells.held(runner._context.pointer, 0) == LONG
    runner.close()


def test_long_factors_and_gpus_have_all_cells_at_once(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp chooses the factors by the number of cells. And what is planned on a GPU must be there."""
    runner = LlamaRunner(
        EngineSpec("llama", str(write_family(tmp_path / "long.gguf", "phi3, long")), context=4096, parallel=1)
    )
    assert cells(runner) == runner.info.kv_tokens == 4096
    runner.close()
    gpu = Device("NVIDIA L4", 23 * 2**30, is_gpu=True)
    monkeypatch.setattr(library, "devices", lambda: [gpu])
    monkeypatch.setattr(library.Log, "offloaded", lambda _: (3, 3))
    runner = LlamaRunner(EngineSpec("llama", str(tiny), context=4096, parallel=1))
    assert cells(runner) == runner.info.kv_tokens == 4096
    runner.close()
