"""LoRA adapters on llama.cpp: what they change, that nothing is computed with others' KV, and what is refused."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from driving import Driver
from lora_files import write_mlx, write_peft
from tiny_adapters import begin, end, write_adapter
from tiny_models import write_gguf

from nitro.checkpoints import adapter_base, adapter_reader
from nitro.engines.adapters import AdapterSet, AdapterSource
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.models import default_model

BASE, A, B = (), ((0, 1.0),), ((1, 1.0),)
GREEDY = SamplingParams(temperature=0)
CLOSE = 0.05  # of logits that were batched otherwise, here of 20; of other adapters' KV they are off by eight


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    model = default_model.path()
    return write_adapter(folder / "a.gguf", model, 1), write_adapter(folder / "b.gguf", model, 2, rank=8)


@pytest.fixture(scope="module")
def runner(files: tuple[Path, Path]):
    lora = tuple(f"{name}={path}" for name, path in zip("AB", files, strict=True))
    runner = LlamaRunner(EngineSpec("llama", str(default_model.path()), context=512, parallel=4, lora=lora))
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def text(runner: LlamaRunner) -> list[int]:
    return runner.tokenizer.encode("The capital of France is Paris, and that of Italy is Rome. The capital of Spain is")


def logits(runner: LlamaRunner, tokens: list[int], adapters: AdapterSet, start: int = 0, slot: int = 0) -> np.ndarray:
    """After these tokens, of which the slot holds the first."""
    runner.submit([Chunk(99, slot, tokens, start, len(tokens), GREEDY, adapters=adapters)])
    runner.collect()
    found = runner._logits(runner._tokens.last_row[slot]).copy()
    runner.free_sequence(99)
    return found


def alone(runner: LlamaRunner, tokens: list[int], adapters: AdapterSet) -> np.ndarray:
    runner.trim(0, 0)
    found = logits(runner, tokens, adapters)
    runner.trim(0, 0)
    return found


def test_an_adapter_is_what_its_product_says(
    runner: LlamaRunner, files: tuple[Path, Path], tmp_path: Path, text: list[int]
) -> None:
    """The same logits as a model whose weights were changed, in a folder of PEFT's, too; scales and sums hold."""
    base = alone(runner, text, BASE)
    a, b = alone(runner, text, A), alone(runner, text, B)
    assert np.abs(a - base).max() > 2 and np.abs(b - base).max() > 2 and np.abs(a - b).max() > 2
    assert np.abs(alone(runner, text, ((0, 0.5),)) - base).max() < np.abs(a - base).max()
    assert np.abs(alone(runner, text, (*A, *B)) - a).max() > 1
    assert np.array_equal(alone(runner, text, BASE), base)
    about = adapter_base.of(default_model.path())
    adapter = adapter_reader.read(files[0], about.header)
    layers = {name: (change.a, change.b * change.scale / 2) for name, change in adapter.layers.items()}
    for number, folder in enumerate((write_peft(tmp_path / "peft", layers), write_mlx(tmp_path / "mlx", layers)), 10):
        info = runner.load_adapter(AdapterSource(number, folder.name, str(folder)))
        assert info.rank == 4 and info.bytes and info.fingerprint
        assert np.abs(alone(runner, text, ((number, 1.0),)) - a).max() < CLOSE
        runner.drop_adapter(number)


def test_kv_of_one_set_is_never_used_under_another(runner: LlamaRunner, text: list[int]) -> None:
    """The same prompt, under one set after the other and at the same time: shared in flight, from idle slots, parked,
    kept, preempted and cut. Where KV of another set is read, logits are off by eight, as is shown first."""
    right = {adapters: alone(runner, text, adapters) for adapters in (BASE, A, B)}
    logits(runner, [*text[:-1], 0], A)
    runner.trim(0, len(text) - 1)
    wrong = logits(runner, text, BASE, start=len(text) - 1)
    runner.trim(0, 0)
    assert np.abs(wrong - right[BASE]).max() > 0.5
    driver = Driver(runner)
    seen: dict[int, tuple[AdapterSet, np.ndarray]] = {}
    collect = runner.collect

    def watched():
        for chunk in runner._batch:
            if chunk.stop == len(text) and chunk.wants_token:
                seen[chunk.sequence_id] = chunk.adapters, runner._logits(runner._tokens.last_row[chunk.slot]).copy()
        return collect()

    runner.collect = watched
    try:
        number = 0
        for round in ([A, BASE, B, A], [B, B, BASE, A], [BASE], [A], [B, A], [BASE, B, A, A]):
            for adapters in round:
                number += 1
                driver.add(number, text, 3, adapters=adapters)
            driver.run()
    finally:
        del runner.collect
    assert len(seen) == number
    for adapters, found in seen.values():
        assert np.abs(found - right[adapters]).max() < CLOSE


def test_a_set_survives_a_larger_context_and_a_reset(runner: LlamaRunner, text: list[int]) -> None:
    """Both make a new context of llama.cpp, which applies nothing."""
    right = alone(runner, text, A)
    logits(runner, text, A)
    runner._context.grow({0: 3000}) or runner._context._resize(runner._context._length * 2)
    runner.trim(0, len(text) - 1)
    assert np.abs(logits(runner, text, A, start=len(text) - 1) - right).max() < CLOSE
    runner.reset()
    assert np.abs(logits(runner, text, A) - right).max() < CLOSE
    runner.trim(0, 0)


# What is refused


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    file = write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
    runner = LlamaRunner(EngineSpec("llama", str(file), context=64))
    yield runner
    runner.close()


def shape(runner: LlamaRunner) -> tuple[int, int]:
    return runner._model.header.tensors["blk.0.attn_q.weight"].shape


def pair(writer: gguf.GGUFWriter, name: str, a: tuple[int, ...], b: tuple[int, ...], kind=np.float32) -> None:
    writer.add_tensor(f"{name}.lora_a", np.ones(a, kind))
    writer.add_tensor(f"{name}.lora_b", np.ones(b, kind))


def test_what_is_no_adapter_of_the_model_is_refused_in_a_sentence(tiny: LlamaRunner, tmp_path: Path) -> None:
    rows, columns = shape(tiny)
    name = "blk.0.attn_q.weight"

    def refused(why: str, architecture: str = "llama", *tensors, kind: str = "adapter", **more) -> None:
        file = tmp_path / f"{abs(hash((why, more.get('n'))))}.gguf"
        writer = begin(file, architecture, kind=kind)
        for tensor, a, b, *of in tensors:
            pair(writer, tensor, a, b, *of)
        for key, value in more.get("keys", {}).items():
            writer.add_array(key, value)
        end(writer, file)
        with pytest.raises(LoadError, match=why):
            tiny.load_adapter(AdapterSource(0, "x", str(file)))

    good = (name, (4, columns), (rows, 4))
    refused("is an adapter of 'qwen2', and the model is 'llama'", "qwen2", good)
    refused("is no LoRA: its general.type is 'model'", "llama", good, kind="model")
    refused("the model has no such tensor", "llama", ("blk.99.attn_q.weight", (4, columns), (rows, 4)))
    refused("do not fit each other or the model", "llama", (name, (4, columns), (rows, 5)))
    refused("do not fit each other or the model", "llama", (name, (4, columns + 1), (rows, 4)), n=1)
    refused("do not fit each other or the model", "llama", (name, (2, 4, columns), (2, rows, 4)), n=2)
    refused("has no tensors of a LoRA", "llama")
    refused("is I32; supported are", "llama", (*good, np.int32))
    refused("begins in the middle of a prompt", "llama", good, keys={"adapter.alora.invocation_tokens": [1, 2]})
    with pytest.raises(LoadError, match="no such file"):
        tiny.load_adapter(AdapterSource(0, "x", str(tmp_path / "gone.gguf")))
    with pytest.raises(LoadError, match=r"has no adapter_config\.json"):
        tiny.load_adapter(AdapterSource(0, "x", str(tmp_path)))


def test_damaged_files_are_refused(tiny: LlamaRunner, tmp_path: Path) -> None:
    """Cut at each tenth, other tensors in it, an alpha that llama.cpp would end the process at."""
    rows, columns = shape(tiny)
    good = write_adapter(tmp_path / "good.gguf", Path(tiny._model.path)).read_bytes()
    for tenth in range(10):
        (tmp_path / "cut.gguf").write_bytes(good[: len(good) * tenth // 10])
        with pytest.raises(LoadError, match=r"cut\.gguf"):
            tiny.load_adapter(AdapterSource(0, "x", str(tmp_path / "cut.gguf")))
    for fault, why in (
        ("alpha", "is no 32-bit float"),
        ("norm", "is no part of a LoRA"),
        ("half", "only one of the two"),
    ):
        file = tmp_path / f"{fault}.gguf"
        writer = begin(file, "llama", alpha=None if fault == "alpha" else 8.0)
        if fault == "alpha":
            writer.add_float64("adapter.lora.alpha", 8.0)
        writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, columns), np.float32))
        if fault != "half":
            writer.add_tensor("blk.0.attn_q.weight.lora_b", np.ones((rows, 4), np.float32))
        if fault == "norm":
            writer.add_tensor("blk.0.attn_norm.weight", np.ones(columns, np.float32))
        end(writer, file)
        with pytest.raises(LoadError, match=why):
            tiny.load_adapter(AdapterSource(0, "x", str(file)))
    assert not tiny._adapters._pointers
