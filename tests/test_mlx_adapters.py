"""LoRA adapters on MLX: rows with different ones in one batch, over dense and packed layers, and what is refused."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from driving import Driver
from gguf import GGMLQuantizationType as Type
from lora_files import products, write_mlx, write_peft
from mlx_lm.models.cache import make_prompt_cache
from tiny_adapters import write_adapter
from tiny_models import FEED_FORWARD, VOCABULARY, WIDTH, write_gguf

from nitro.checkpoints import adapter_base, adapter_reader
from nitro.engines.adapters import AdapterSet, AdapterSource
from nitro.engines.backends.mlx import kv_cache
from nitro.engines.backends.mlx.adapted_layers import AdaptedLinear
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import EngineSpec, SamplingParams

BASE, A, B = (), ((0, 1.0),), ((1, 1.0),)
SETS = (BASE, A, B, ((0, 0.5),), (*A, *B), ((0, -1.0), (1, 0.25)))
TEXT = [1, *range(40, 70)]
CLOSE = 1e-3  # of logits in float32


@pytest.fixture(scope="module", params=[Type.F32, Type.Q8_0])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", request.param)


@pytest.fixture(scope="module")
def files(model: Path) -> tuple[Path, Path]:
    a = write_adapter(model.parent / "a.gguf", model, 1, size=0.5)
    return a, write_adapter(model.parent / "b.gguf", model, 2, size=0.5, rank=8)


@pytest.fixture(scope="module")
def runner(model: Path, files: tuple[Path, Path]):
    lora = tuple(f"{name}={path}" for name, path in zip("AB", files, strict=True))
    runner = MlxRunner(EngineSpec("mlx", str(model), context=256, parallel=6, lora=lora))
    yield runner
    runner.close()


def logits(runner: MlxRunner, sets: list[AdapterSet]) -> np.ndarray:
    """After the text, in each row: [rows, vocabulary]."""
    caches = kv_cache.merge([make_prompt_cache(runner._model.network) for _ in sets])
    return np.array(runner._adapters.logits(mx.array([TEXT] * len(sets)), caches, sets)[:, -1])


def by_hand(runner: MlxRunner, model: Path, scales: dict[Path, float]) -> np.ndarray:
    """The logits of the model with the products added to what its layers give."""
    base = adapter_base.of(model)
    changes: dict[str, list] = {}
    for path, scale in scales.items():
        for name, change in base.fitted(adapter_reader.read(path, base.header)).layers.items():
            changes.setdefault(name, []).append(mx.array(scale * change.product().T))
    modules = dict(runner._model.network.named_modules())
    plain = AdaptedLinear.__call__
    names = {id(modules[name]): name for name in changes}

    def call(self: AdaptedLinear, x: mx.array) -> mx.array:
        return self.inner(x) + sum(x @ part for part in changes.get(names.get(id(self)), ()))

    AdaptedLinear.__call__ = call
    try:
        return logits(runner, [BASE])[0]
    finally:
        AdaptedLinear.__call__ = plain


def test_rows_of_one_batch_get_each_what_it_gets_alone(
    runner: MlxRunner, model: Path, files: tuple[Path, Path]
) -> None:
    """Base, A, B, other scales and sums in one batch; alone; and as the products say."""
    together = logits(runner, list(SETS))
    for i, adapters in enumerate(SETS):
        assert np.abs(together[i] - logits(runner, [adapters])[0]).max() < CLOSE
        scales = {files[id]: scale for id, scale in adapters}
        assert np.abs(together[i] - by_hand(runner, model, scales)).max() < CLOSE
    apart = [np.abs(together[i] - together[j]).max() for i in range(len(SETS)) for j in range(i)]
    assert min(apart) > 0.1


def test_what_is_no_number_stays_in_its_row(runner: MlxRunner, model: Path, tmp_path: Path) -> None:
    huge = write_adapter(tmp_path / "huge.gguf", model, 3, size=1e37)
    runner._adapters._try = lambda number: None
    try:
        runner.load_adapter(AdapterSource(7, "huge", str(huge)))
    finally:
        del runner._adapters._try
    rows = logits(runner, [BASE, ((7, 100.0),), A])
    assert not np.isfinite(rows[1]).all()
    assert np.abs(rows[[0, 2]] - logits(runner, [BASE, A])).max() < CLOSE
    runner.drop_adapter(7)


def test_kv_of_one_set_is_never_used_under_another(runner: MlxRunner) -> None:
    """The same prompt under six sets, at once and after each other: greedy answers are those of each set alone."""
    driver = Driver(runner)
    length = 12
    right = {}
    for number, adapters in enumerate(SETS):
        runner.reset()
        driver = Driver(runner)
        driver.add(number, TEXT, length, adapters=adapters)
        right[adapters] = driver.run()[number]
    assert len(set(map(tuple, right.values()))) == len(SETS)
    runner.reset()
    driver = Driver(runner)
    number = 0
    for round in (SETS, SETS[::-1], (A, BASE, A, B), (BASE,), (B, (*A, *B)), SETS):
        asked = {}
        for adapters in round:
            number += 1
            asked[number] = adapters
            driver.add(number, TEXT, length, adapters=adapters)
        answers = driver.run()
        assert {id: answers[id] for id in asked} == {id: right[adapters] for id, adapters in asked.items()}
    assert max(map(len, driver.batches)) == len(SETS), "all sets were in one step"


def test_folders_of_peft_and_mlx_lm(runner: MlxRunner, tmp_path: Path) -> None:
    shapes = {"model.layers.0.self_attn.q_proj": (WIDTH, WIDTH), "model.layers.1.mlp.up_proj": (FEED_FORWARD, WIDTH)}
    layers = products(shapes)
    peft, mlx = write_peft(tmp_path / "peft", layers), write_mlx(tmp_path / "mlx", layers)
    for number, folder in ((10, peft), (11, mlx)):
        info = runner.load_adapter(AdapterSource(number, folder.name, str(folder)))
        assert info.rank == 4 and info.bytes == 4 * 4 * sum(map(sum, shapes.values())) and info.fingerprint
    one, other, base = logits(runner, [((10, 1.0),), ((11, 1.0),), BASE])
    assert np.abs(one - other).max() < CLOSE < 0.1 < np.abs(one - base).max()
    for number in (10, 11):
        runner.drop_adapter(number)


def test_drafts_are_checked_with_the_adapters(runner: MlxRunner) -> None:
    runner.reset()
    driver = Driver(runner)
    driver.add(1, TEXT, 12, adapters=A)
    right = driver.run()[1]
    runner.reset()
    runner.submit([Chunk(2, 0, TEXT, 0, len(TEXT), SamplingParams(temperature=0), len(TEXT), adapters=A)])
    first = runner.collect()[0].tokens
    tokens = [*TEXT, *first]
    chunk = Chunk(2, 0, tokens, len(TEXT), len(tokens), SamplingParams(temperature=0), len(TEXT), adapters=A)
    chunk.draft = [*right[1:4], (right[4] + 1) % VOCABULARY]
    runner.submit([chunk])
    assert runner.collect()[0].tokens == right[1:5]
    runner.reset()


def test_what_does_not_fit_is_refused_in_a_sentence(runner: MlxRunner, tmp_path: Path) -> None:
    def refused(why: str, path: Path) -> None:
        with pytest.raises(LoadError, match=why):
            runner.load_adapter(AdapterSource(20, "x", str(path)))

    where = "model.layers.0.self_attn.q_proj"
    refused("no such file", tmp_path / "gone")
    refused(r"has no adapter_config\.json", tmp_path)
    refused("is for another model", write_peft(tmp_path / "wide", products({where: (WIDTH, WIDTH + 1)})))
    refused("has no such layer", write_peft(tmp_path / "deep", products({where.replace("0", "99"): (WIDTH, WIDTH)})))
    embedding = products({"model.embed_tokens": (VOCABULARY, WIDTH)})
    refused("an embedding, which MLX applies to no single row", write_peft(tmp_path / "embedding", embedding))
    assert 20 not in runner._adapters._layers
