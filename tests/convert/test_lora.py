"""LoRAs that PEFT made, converted by the command a user types: llama.cpp and mlx-lm compute with them what PEFT does in
torch, in float32."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from convert import peft_environment
from convert.peft_adapters import ADAPTERS
from real_models import write_hf
from tiny_models import VOCABULARY, write_gguf

from nitro.cli.main import main
from nitro.convert import adapter_proof, environments, native
from nitro.engines.adapters import AdapterSet
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.runner import Chunk
from nitro.engines.types import EngineSpec, SamplingParams

pytestmark = pytest.mark.convert

LIMIT = 1e-3  # logits; 3e-5 is what was seen, of logits up to 11 that the adapters move by 4 to 14
TOGETHER: dict[str, AdapterSet] = {"base": (), "rslora": ((0, 1.0),), "patterns": ((1, 1.0),)}
IDS = [int(id) for id in np.random.default_rng(0).integers(3, VOCABULARY, 60)]


class Made:
    """A base in both kinds, and in `folder` PEFT's adapters by name, with the logits that it computed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.bases = {"gguf": write_gguf(folder / "tiny.gguf")}
        self.bases["mlx"] = write_hf(self.bases["gguf"], folder / "tiny")
        ids = folder / "ids.json"
        ids.write_text(json.dumps(IDS))
        peft_environment.run(Path(__file__).with_name("peft_adapters.py"), self.bases["mlx"], folder, ids)
        self.logits = dict(np.load(folder / "logits.npz"))

    def converted(self, source: Path, to: str, base: Path | None = None) -> Path:
        """An adapter by the command, once."""
        base = base or self.bases[to]
        target = source.with_name(f"{source.name}-on-{base.name}-{to}")
        if not target.exists():
            command = ["convert", str(source), "--to", to, "-o", str(target), "--base", str(base), "--positions", "64"]
            done = CliRunner().invoke(main, command)
            assert done.exit_code == 0, done.output
        return target

    def computed(self, to: str, adapter: Path | None = None) -> np.ndarray:
        """The logits that the target's library computes with an adapter, or without."""
        request = {"strings": [], "texts": [], "limit": 0, "ids": [IDS], "encoder": False, "nitro": native.PACKAGE}
        out = self.folder / "computed.npz"
        environments.run(
            *adapter_proof.BACKENDS[to],
            {**request, "model": self.bases[to], "adapter": adapter and str(adapter), "out": out},
        )
        return np.load(out)["text_0"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("lora"))


@pytest.mark.parametrize("to", ["gguf", "mlx"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_what_peft_computes(made: Made, name: str, to: str) -> None:
    expected = made.logits[name]
    found = made.computed(to, made.converted(made.folder / name, to))
    assert np.abs(expected - made.logits["base"]).max() > 1, "the adapter matters"
    assert np.abs(found - expected).max() < LIMIT


@pytest.mark.parametrize("to", ["gguf", "mlx"])
def test_the_base_alone(made: Made, to: str) -> None:
    assert np.abs(made.computed(to) - made.logits["base"]).max() < LIMIT


@pytest.mark.parametrize(("first", "second"), [("gguf", "mlx"), ("mlx", "gguf")])
def test_one_target_becomes_the_other(made: Made, first: str, second: str) -> None:
    """On the base in either kind."""
    once = made.converted(made.folder / "patterns", first)
    for base in made.bases.values():
        twice = made.converted(once, second, base)
        assert np.abs(made.computed(second, twice) - made.logits["patterns"]).max() < LIMIT


def options(made: Made) -> dict[str, object]:
    """Of an engine that has the adapters of TOGETHER, from PEFT's own folders."""
    lora = tuple(f"{name}={made.folder / name}" for name, adapters in TOGETHER.items() if adapters)
    return {"context": 3 * 64, "parallel": 3, "lora": lora}


def test_in_one_batch_on_mlx(made: Made) -> None:
    mx = pytest.importorskip("mlx.core")
    from mlx_lm.models.cache import make_prompt_cache

    from nitro.engines.backends.mlx import kv_cache
    from nitro.engines.backends.mlx.runner import MlxRunner

    runner = MlxRunner(EngineSpec("mlx", str(made.bases["mlx"]), **options(made)))
    caches = kv_cache.merge([make_prompt_cache(runner._model.network) for _ in TOGETHER])
    found = np.array(runner._adapters.logits(mx.array([IDS] * len(TOGETHER)), caches, list(TOGETHER.values())))
    runner.close()
    for row, name in enumerate(TOGETHER):
        assert np.abs(found[row] - made.logits[name]).max() < LIMIT


def test_in_turns_on_llama(made: Made) -> None:
    """Each in parts, between which the others have had theirs."""
    exact = {"flash_attn": "off", "cache_type_k": "f32", "cache_type_v": "f32"}
    runner = LlamaRunner(EngineSpec("llama", str(made.bases["gguf"]), **options(made), **exact))
    for start in (0, 20, 40):
        for slot, (name, adapters) in enumerate(TOGETHER.items()):
            tokens = IDS[: start + 20]
            chunk = Chunk(slot, slot, tokens, start, len(tokens), SamplingParams(temperature=0), adapters=adapters)
            runner.submit([chunk])
            runner.collect()
            found = runner._logits(runner._tokens.last_row[slot])
            assert np.abs(found - made.logits[name][len(tokens) - 1]).max() < LIMIT
    runner.close()
