"""The options that llama-server has, too: each reaches llama.cpp, as its log, its memory or its numbers say. What does
not go together, or has nothing to work on, is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_families import write_family
from tiny_models import write_gguf

from nitro.engines.backends.llama import library
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.backends.loading import load
from nitro.engines.hardware.libraries import Build, Device
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import EngineSpec, SamplingParams

TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
WIDE = 256  # heads of 64, which all types' blocks divide
PROMPT = [*range(3, 60)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", width=WIDE)


def started(model: Path, **options: Any) -> LlamaRunner:
    return LlamaRunner(EngineSpec("llama", str(model), context=512, parallel=1, **options))


def said(model: Path, **options: Any) -> str:
    """What llama.cpp logs while it starts with these options."""
    runner = started(model, **options)
    log = runner._model.log.text
    runner.close()
    return log


def logits(model: Path, **options: Any) -> np.ndarray:
    """After a prompt."""
    runner = started(model, **options)
    runner.submit([Chunk(1, 0, PROMPT, 0, len(PROMPT), SamplingParams(temperature=0))])
    runner.collect()
    row = runner._logits(runner._tokens.last_row[0]).copy()
    runner.close()
    return row


@pytest.mark.parametrize(("keys", "values"), [*zip(TYPES, TYPES, strict=True), ("q8_0", "q4_0"), ("f16", "q8_0")])
def test_types_of_the_cache(tiny: Path, keys: str, values: str) -> None:
    """The plan counts what llama.cpp takes, to the precision of its log."""
    runner = started(tiny, cache_type_k=keys, cache_type_v=values)
    log, info, planned = runner._model.log.text, runner.info, runner._model.token_bytes()
    runner.close()
    assert f"K ({keys})" in log and f"V ({values})" in log
    assert info.kv_bytes / info.kv_tokens == pytest.approx(planned, rel=0.05)


def test_a_quantized_cache_takes_less(tiny: Path) -> None:
    sizes = {}
    for name in ("f16", "q8_0", "q4_0"):
        runner = started(tiny, cache_type_k=name, cache_type_v=name)
        sizes[name] = runner._model.token_bytes()
        runner.close()
    assert sizes["q8_0"] * 16 == sizes["f16"] * 8.5 and sizes["q4_0"] * 16 == sizes["f16"] * 4.5


def test_numbers_of_a_q8_cache_are_near(tiny: Path) -> None:
    plain, packed = logits(tiny), logits(tiny, cache_type_k="q8_0", cache_type_v="q8_0")
    assert not np.array_equal(plain, packed)
    assert np.corrcoef(plain, packed)[0, 1] > 0.999


@pytest.mark.parametrize(("value", "logged"), [("on", "enabled"), ("off", "disabled"), ("auto", "auto")])
def test_flash_attention(tiny: Path, value: str, logged: str) -> None:
    assert f"flash_attn            = {logged}" in said(tiny, flash_attn=value)


@pytest.mark.parametrize(
    ("options", "logged"),
    [
        ({}, "mmap"),
        ({"no_mmap": True}, "none"),
        ({"mlock": True}, "mmap+mlock"),
        ({"no_mmap": True, "mlock": True}, "mlock"),
    ],
)
def test_how_weights_are_loaded(tiny: Path, options: dict[str, bool], logged: str) -> None:
    assert f"(load_mode = {logged})" in said(tiny, **options)


@pytest.mark.parametrize(
    ("options", "logged"),
    [
        ({"rope_freq_base": 5e5}, "freq_base     = 500000.0"),
        ({"rope_freq_scale": 0.25}, "freq_scale    = 0.25"),
        ({"rope_scale": 8.0}, "freq_scale    = 0.125"),
        ({"rope_scaling": "none"}, "freq_scale    = 1\n"),
    ],
)
def test_rope(tiny: Path, options: dict[str, Any], logged: str) -> None:
    assert " ".join(logged.split()) in " ".join(said(tiny, **options).split())
    if options != {"rope_scaling": "none"}:
        assert not np.allclose(logits(tiny), logits(tiny, **options))


def test_scaling_of_the_file_can_be_switched_off(tmp_path: Path) -> None:
    scaled = write_gguf(tmp_path / "scaled.gguf", linear_scaling=4.0)
    assert np.array_equal(logits(scaled, rope_scaling="none"), logits(write_gguf(tmp_path / "plain.gguf")))


@pytest.mark.parametrize(
    "more",
    [
        {"yarn_orig_ctx": 32},
        {"yarn_ext_factor": 0.5},
        {"yarn_attn_factor": 1.5, "yarn_ext_factor": 0.0},
        {"yarn_beta_fast": 4.0},
        {"yarn_beta_slow": 0.25},
    ],
)
def test_yarn(tiny: Path, more: dict[str, Any]) -> None:
    """Each of its numbers changes the model's."""
    yarn = {"rope_scaling": "yarn", "rope_scale": 4.0}
    one_less = {"yarn_ext_factor": 0.0} if "yarn_attn_factor" in more else {}
    assert not np.allclose(logits(tiny, rope_scale=4.0), logits(tiny, **yarn)), "it is not linear"
    assert not np.array_equal(logits(tiny, **yarn, **one_less), logits(tiny, **yarn, **more))


def test_tensors_elsewhere(tiny: Path) -> None:
    """On a CPU all lies in main memory, but llama.cpp says that it found them."""
    log = said(tiny, override_tensor=r"blk\.0\.ffn_up=CPU,ffn_down=CPU")
    assert "blk.0.ffn_up.weight" in log and "overridden to CPU" in log
    moved = {line.split()[1] for line in log.splitlines() if "overridden to CPU" in line}
    assert "blk.0.ffn_up.weight" in moved and "blk.1.ffn_down.weight" in moved and "blk.1.ffn_up.weight" not in moved


def test_experts_elsewhere(tmp_path: Path) -> None:
    model = write_family(tmp_path / "moe.gguf", "qwen3moe")
    log = said(model, n_cpu_moe=1)
    moved = {line.split()[1] for line in log.splitlines() if "overridden to CPU" in line}
    assert moved == {f"blk.0.ffn_{part}_exps.weight" for part in ("gate", "up", "down")}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cache_type_v": "q8_0", "flash_attn": "off"}, r"^--cache-type-v q8_0 needs flash attention\."),
    ({"split_mode": "tensor", "flash_attn": "off"}, r"^--split-mode tensor needs flash attention\."),
    ({"rope_scale": 2.0, "rope_freq_scale": 0.5}, r"^--rope-scale is 1 / --rope-freq-scale"),
    ({"rope_scaling": "none", "rope_scale": 2.0}, r"^--rope-scaling none scales nothing"),
    ({"rope_scaling": "linear", "yarn_beta_fast": 2.0}, r"^--yarn-beta-fast is for YaRN"),
    ({"deterministic": True, "cache_type_k": "q8_0"}, r"^--deterministic .* Leave out --cache-type-k\."),
    ({"deterministic": True, "flash_attn": "off"}, r"^--deterministic .* Leave out --flash-attn\."),
    ({"tensor_split": "0,0"}, r"^--tensor-split 0,0 leaves nothing"),
    ({"tensor_split": "1,1"}, r"^--tensor-split is for GPUs"),
    ({"main_gpu": 1}, r"^--main-gpu is for GPUs"),
    ({"split_mode": "row"}, r"^--split-mode is for GPUs"),
    ({"override_tensor": "ffn_up=Moon"}, r"^--override-tensor: there is no buffer type 'Moon'; there are CPU"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_does_not_go_together(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        started(tiny, gpu_layers=0, **options)


def test_types_whose_blocks_do_not_go_into_a_head(tmp_path: Path) -> None:
    small = write_gguf(tmp_path / "small.gguf", width=WIDE // 4)
    with pytest.raises(LoadError, match=r"^--cache-type-k q8_0 packs 32 numbers"):
        started(small, cache_type_k="q8_0")


def test_gpus_that_are_not_there(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Device("NVIDIA L4", 23 * 2**30, is_gpu=True)] * 2
    monkeypatch.setattr(library, "devices", lambda: gpus)
    monkeypatch.setattr(library, "build", lambda: Build("llama.cpp", "0", ("CUDA",), tuple(gpus)))
    with pytest.raises(LoadError, match=r"^--main-gpu 2: there are 2 GPUs"):
        started(tiny, main_gpu=2)
    with pytest.raises(LoadError, match=r"^--tensor-split 1,1,1 is for 3 GPUs, and there are 2\."):
        started(tiny, tensor_split="1,1,1")


@pytest.mark.parametrize(
    ("option", "value"), [("cache_type_k", "q8_0"), ("flash_attn", "off"), ("mlock", True), ("rope_scale", 2.0)]
)
def test_mlx_refuses_them_by_name(tmp_path: Path, option: str, value: Any) -> None:
    with pytest.raises(LoadError, match=f"^--{option.replace('_', '-')} is for llama.cpp, and MLX has no such option"):
        load(EngineSpec("mlx", str(tmp_path), **{option: value}))
