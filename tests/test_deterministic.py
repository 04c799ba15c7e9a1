"""`--deterministic`: the same request and seed give bitwise the same tokens and logprobs, whatever runs beside them and
whatever is cached. The same on 1,000 requests is `python -m soak.hammer`."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from msgspec.structs import replace
from same_answer import assert_identical
from tiny_adapters import write_adapter
from tiny_models import write_folder, write_gguf

from bench.quantized_models import quantize
from nitro.engines.adapters import AdapterSource
from nitro.engines.backends.llama import exact_rows
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.backends.loading import load
from nitro.engines.backends.mlx import block_layers
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.models import default_model
from soak.hammer import differences

CONTEXT = 1024


def spec(engine: str, model: Path, parallel: int = 4, deterministic: bool = True) -> EngineSpec:
    return EngineSpec(engine, str(model), context=CONTEXT, parallel=parallel, deterministic=deterministic)


@pytest.mark.parametrize("engine", ["llama", "mlx"])
@pytest.mark.parametrize("type", ["Q4_K", "Q6_K", "IQ4_XS"])
def test_k_quants_keep_it(tmp_path: Path, engine: str, type: str) -> None:
    """A file in ggml's blocks, as it is."""
    if engine == "mlx" and not block_layers.is_installed():
        pytest.skip("mlx-kquant is not installed")
    file = quantize(write_gguf(tmp_path / "wide.gguf", width=256), tmp_path / "tiny.gguf", type)
    runner = {"llama": LlamaRunner, "mlx": MlxRunner}[engine](spec(engine, file))
    assert runner.info.deterministic
    assert_identical(differences(runner, 8, seed=1))
    runner.close()


@pytest.mark.parametrize("type", [Type.Q4_1, Type.Q8_0])
def test_llama_keeps_it(tmp_path: Path, type: Type) -> None:
    runner = LlamaRunner(spec("llama", write_gguf(tmp_path / "tiny.gguf", type)))
    assert runner.info.deterministic
    assert_identical(differences(runner, 14, seed=1))
    runner.close()


def test_llama_without_it_differs(tmp_path: Path) -> None:
    """So the hammer can find something."""
    runner = LlamaRunner(spec("llama", write_gguf(tmp_path / "tiny.gguf", Type.Q4_1), deterministic=False))
    with pytest.raises(AssertionError, match="alone"):
        assert_identical(differences(runner, 10, seed=1))
    runner.close()


@pytest.mark.parametrize("kind", ["plain", "rotating", "list of arrays and plain"])
def test_mlx_keeps_it(tmp_path: Path, kind: str) -> None:
    runner = MlxRunner(spec("mlx", write_folder(tmp_path / "model", kind)))
    assert runner.info.deterministic
    assert_identical(differences(runner, 8, seed=1))
    runner.close()


def test_llama_keeps_it_with_adapters(tmp_path: Path) -> None:
    """Requests draw one of two, or none. One that comes later is tried before it is taken."""
    model = write_gguf(tmp_path / "tiny.gguf", Type.Q8_0)
    a, b, c = (write_adapter(tmp_path / f"{name}.gguf", model, seed, size=0.3) for seed, name in enumerate("abc"))
    runner = LlamaRunner(replace(spec("llama", model), lora=(f"a={a}", f"b={b}")))
    assert len({np.argmax(logits(runner, [[1, 2, 3]], number)[0]) for number in (None, 0, 1)}) > 1
    assert_identical(differences(runner, 10, seed=1))
    assert runner.load_adapter(AdapterSource(7, "c", str(c))).rank == 4
    runner._context.parameters.n_ubatch = 64  # as if the model alone had been tried
    with pytest.raises(LoadError, match="--lora when the server starts"):
        runner.load_adapter(AdapterSource(8, "c", str(c)))
    runner.close()


def test_rows_are_as_many_as_are_exact(tmp_path: Path) -> None:
    """F16 weights have another kernel for two rows than for one; then each is computed by itself."""
    runner = LlamaRunner(spec("llama", write_gguf(tmp_path / "tiny.gguf", Type.F16), parallel=3))
    assert runner._context.parameters.n_ubatch == 1
    alone = logits(runner, [[1, 2, 3]])[0]
    assert all(np.array_equal(alone, other) for other in logits(runner, [[1, 2, 3], [1, 2, 3], [1, 2, 3]]))
    runner.close()


def logits(runner: LlamaRunner, prompts: list[list[int]], adapter: int | None = None) -> list[np.ndarray]:
    """After each prompt, all in one step."""
    adapters = () if adapter is None else ((adapter, 1.0),)
    chunks = [
        Chunk(i, i, prompt, 0, len(prompt), SamplingParams(), adapters=adapters) for i, prompt in enumerate(prompts)
    ]
    runner.submit(chunks)
    rows = [runner._logits(runner._tokens.last_row[chunk.slot]).copy() for chunk in chunks]
    for chunk in chunks:
        runner.trim(chunk.slot, 0)
    return rows


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_blocks_of_rows(rows: int) -> None:
    """llama.cpp takes together what follows in the batch with rising ids, one more than n_ubatch at most."""
    slots = [7, 2, 0, 1, 3, 4, 6]
    ordered = [chunk.slot for chunk in exact_rows.in_order([chunk_in(slot) for slot in slots], rows)]
    assert sorted(ordered) == sorted(slots)
    left = ordered.copy()
    while left:
        block = [left.pop(0)]
        for slot in left.copy():
            if slot == block[-1] + 1:
                block.append(slot)
                left.remove(slot)
        assert len(block) <= rows


def chunk_in(slot: int) -> Chunk:
    return Chunk(slot, slot, [1], 0, 1, SamplingParams())


def test_each_request_has_a_whole_context() -> None:
    plan = exact_rows.plan(None, trained=100_000, parallel=4, token_bytes=1, free_bytes=80_000)
    assert (plan.context, plan.pool) == (9984, 4 * 9984)  # half of the memory, in fours
    assert exact_rows.plan(1000, trained=100_000, parallel=4, token_bytes=1, free_bytes=80_000).pool == 12 * 1024
    with pytest.raises(LoadError, match="--parallel"):
        exact_rows.plan(20_000, trained=100_000, parallel=4, token_bytes=1, free_bytes=80_000)


def test_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import mlx.core as mx

    model = write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr("nitro.engines.backends.llama.layer_placement.Placement.on_gpu", property(lambda self: True))
    with pytest.raises(LoadError, match="--deterministic is for the CPU"):
        LlamaRunner(spec("llama", model))
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    with pytest.raises(LoadError, match="--deterministic is for the CPU"):
        MlxRunner(spec("mlx", model))


class Careless:
    """A runner of somebody else's, that has never heard of it."""

    def __init__(self, spec: EngineSpec):

        from nitro.engines.backends.fake import FakeRunner

        self.info = replace(FakeRunner(spec).info, deterministic=False)


def test_an_engine_that_does_not_promise_it_is_refused() -> None:
    with pytest.raises(LoadError, match="--deterministic"):
        load(spec(f"{__name__}:Careless", default_model.path()))
