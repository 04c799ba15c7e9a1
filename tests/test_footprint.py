"""What a model's KV cache takes: windows and recurrent states are counted as what they hold."""

from pathlib import Path

import llama_cpp.llama_cpp as lib
import pytest

from nitro.engines.backends.llama import footprint
from nitro.engines.backends.llama.footprint import Footprint
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.hardware import memory
from nitro.engines.hardware.memory import MIB, SPARE_SLOTS
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

WINDOW, STEP = 512, 64
HYBRID_LOG = """\
llama_kv_cache: size =    0.75 MiB (   256 cells,   3 layers,  1/1 seqs), K (f16):    0.38 MiB, V (f16):    0.38 MiB
llama_memory_recurrent: size =    2.50 MiB (     1 cells,  15 layers,  1 seqs  0 rs_seq), R (f32): 0.50 MiB, S (f32):
"""


def planned(needs: Footprint, free: int, context: int | None = 1000, parallel: int = 4, window: int = WINDOW):
    spec = EngineSpec("llama", "model", context=context, parallel=parallel)
    return footprint.plan(needs, window, STEP, free, spec, trained=8000)


def test_gemma(gemma: Path) -> None:
    """3 of its 18 layers see all tokens; one head of 256 in float16 in each, as its paper says."""
    spec = EngineSpec("llama", str(gemma))
    model = LlamaModel(spec)
    needs = footprint.measure(model, spec)
    assert needs == Footprint(3 * 2 * 256 * 2, 15 * 2 * 256 * 2)
    assert needs.token + needs.window_token == model.token_bytes()
    assert model.window == WINDOW
    model.close()


@pytest.mark.parametrize(("options", "share"), [({}, 1), ({"no_mmap": True}, 0)])
def test_weights_are_taken_off_once(
    options: dict[str, bool], share: int, smollm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are mapped count as free; others have their memory already."""
    model = LlamaModel(EngineSpec("llama", str(smollm), **options))
    monkeypatch.setattr(memory, "free_host_memory", lambda: 2**33)
    assert model.free_memory() == 2**33 - share * lib.llama_model_size(model.pointer)
    model.close()


def test_smollm_is_computed(smollm: Path) -> None:
    spec = EngineSpec("llama", str(smollm))
    model = LlamaModel(spec)
    said = len(model.log.text)
    assert footprint.measure(model, spec) == Footprint(30 * 2 * 3 * 64 * 2)
    assert len(model.log.text) == said, "no context was made for it"
    model.close()


def test_a_hybrid_has_a_state() -> None:
    assert footprint.parse(HYBRID_LOG) == Footprint(3072, 0, int(2.5 * MIB))


def test_a_recurrent_model_has_nothing_else() -> None:
    assert footprint.parse(HYBRID_LOG.splitlines()[1]) == Footprint(1, 0, int(2.5 * MIB))


def test_windows_are_full_where_that_fits() -> None:
    plan = planned(Footprint(10, 90), free=2 * 4000 * 100)
    assert (plan.context, plan.pool, plan.full_windows) == (1000, 4000, True)


@pytest.mark.parametrize("context", [1000, None])
def test_else_they_take_their_window_only(context: int | None) -> None:
    """A context that would not fit with full ones is possible then."""
    windows = 90 * (WINDOW * (4 + SPARE_SLOTS) + STEP)
    wanted = (context or 8000) * 4
    plan = planned(Footprint(10, 90), free=windows + 2 * wanted * 10, context=context)
    assert (plan.context, plan.pool, plan.full_windows, plan.token_bytes) == (context or 8000, wanted, False, 10)


def test_states_are_taken_off() -> None:
    states = 1000 * (4 + SPARE_SLOTS)
    assert planned(Footprint(10, 0, 1000), free=states + 2 * 4000 * 10).pool == 4000
    assert planned(Footprint(10, 0, 1000), free=states + 2 * 3000 * 10).pool == 3000
    with pytest.raises(LoadError, match="--ctx 1000 needs"):
        planned(Footprint(10, 0, 1000), free=states)
