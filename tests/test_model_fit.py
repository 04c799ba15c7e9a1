"""What a model will take, told from its header, beside what engines really take and llama.cpp says."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from running import RunningServer

from nitro.checkpoints import text_settings
from nitro.config import ServeConfig
from nitro.engines.options import EngineOptions
from nitro.engines.types import EngineSpec
from nitro.models import device_memory, facts, fit, kv_shape, openers
from nitro.models.facts import Facts
from nitro.models.fit import Fit
from nitro.models.kv_shape import KVShape

MIB, GIB = 2**20, 2**30
SMALL = Facts(format="gguf", weights=100 * MIB, trained_context=8192, vocabulary=50_000, kv=KVShape(4096, 4096))
TOKEN = 16_384  # bytes of the KV cache


def of(about: Facts = SMALL, free: int = 64 * GIB, **options: Any) -> Fit:
    return fit.of(about, EngineOptions(**options), free)


def test_with_much_memory() -> None:
    found = of()
    assert (found.weights, found.token_bytes) == (100 * MIB, TOKEN)
    assert (found.context, found.pool) == (8192, 8192 * 8)
    assert found.bytes == found.weights + found.overhead + 8 * 8192 * TOKEN == found.needed(8192, 8)
    assert found.at_start == found.needed(512, 8) < found.bytes


def test_with_little_memory_the_context_is_less() -> None:
    found = of(free=400 * MIB)
    assert 0 < found.context < 8192
    assert found.needed(found.context) <= 400 * MIB
    assert of(free=400 * MIB, cache_type_k="q8_0", cache_type_v="q8_0").context > found.context
    assert of(free=120 * MIB).context == of(free=0).context == 0
    assert of(free=400 * MIB, context=10**6).context == 0


def test_a_context_that_is_asked_for() -> None:
    found = of(context=1024, parallel=2)
    assert (found.context, found.pool) == (1024, 2048)
    assert found.first_tokens == 1024


def test_windows_count_as_what_they_hold() -> None:
    """All tokens where they fit, else the window."""
    windowed = replace(SMALL, kv=KVShape(1024, 1024, 8192, 8192, window=1024), trained_context=32768)
    whole, small = of(windowed), of(windowed, free=4 * GIB)
    assert (whole.token_bytes, small.token_bytes) == (9 * 4096, 4096)
    assert small.context == 32768
    assert (small.windows, whole.windows) == (8 * 4096 * (1024 * 16 + fit.STEP), 0)


def test_states_count_for_every_slot() -> None:
    stateful = replace(SMALL, kv=KVShape(4096, 4096, state_bytes=MIB))
    assert of(stateful).overhead - of().overhead == 16 * MIB


# Beside llama.cpp and real engines


@pytest.mark.parametrize("name", ["smollm", "gemma"])
def test_the_kv_cache_is_llama_cpps(name: str, request: pytest.FixtureRequest) -> None:
    from nitro.engines.backends.llama import footprint
    from nitro.engines.backends.llama.model import LlamaModel

    path: Path = request.getfixturevalue(name)
    spec = EngineSpec("llama", str(path))
    model = LlamaModel(spec)
    try:
        measured = footprint.measure(model, spec)
        about = facts.read(path, "gguf")
        assert (about.kv.token_bytes(), about.kv.window_bytes()) == (measured.token, measured.window_token)
        assert about.kv.window == model.window
        assert about.trained_context == model.trained_context and about.vocabulary == model.vocabulary
    finally:
        model.close()


# MLX's build for Linux takes a minute to try Gemma out on a busy machine.
@pytest.mark.parametrize("engine, name", [("llama", "smollm"), ("llama", "gemma"), ("mlx", "smollm")])
def test_the_estimate_is_what_an_engine_takes(engine: str, name: str, request: pytest.FixtureRequest) -> None:
    """Within a fifth, when it is loaded: its own memory, and what it has mapped of the file, which others may share."""
    path: Path = request.getfixturevalue(name)
    with RunningServer(ServeConfig(engine=engine, model=str(path), port=0)) as server:
        server.ready()
        taken = memory_of(server.engine.pid, path)
        found = fit.of(facts.read(path, "gguf"), EngineOptions(engine=engine), 64 * GIB)
        assert found.at_start / 1.2 < taken < found.at_start * 1.2


def memory_of(pid: int, model: Path) -> int:
    """Bytes of a process, and of the file that it maps."""
    taken, is_model = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            is_model = rest.endswith(str(model))
        elif name == "Anonymous:" or (name == "Rss:" and is_model):
            taken += int(rest.split()[0]) * 1024
    return taken


# What files say


def test_windows_of_a_gguf() -> None:
    gemma = {
        "general.architecture": "gemma3",
        "gemma3.block_count": 18,
        "gemma3.embedding_length": 640,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": 1,
        "gemma3.attention.key_length": 256,
        "gemma3.attention.value_length": 256,
        "gemma3.attention.sliding_window": 512,
    }
    assert kv_shape.of_gguf(gemma) == KVShape(768, 768, 15 * 256, 15 * 256, 512)
    pattern = {**gemma, "gemma3.attention.sliding_window_pattern": [True] * 9 + [False] * 9}
    assert kv_shape.of_gguf(pattern) == KVShape(2304, 2304, 2304, 2304, 512)


def test_a_latent_cache_has_no_values() -> None:
    """DeepSeek's: 512 of the latent vector and 64 with positions."""
    found = {"block_count": 27, "attention.head_count": 16, "attention.head_count_kv": 1, "embedding_length": 2048}
    found |= {"attention.key_length": 576, "attention.value_length": 512, "attention.key_length_mla": 192}
    metadata = {f"deepseek2.{key}": value for key, value in found.items()}
    assert kv_shape.of_gguf({"general.architecture": "deepseek2", **metadata}) == KVShape(27 * 576, 0)


def test_recurrent_layers_have_a_state() -> None:
    found = {"block_count": 4, "embedding_length": 64, "attention.head_count": 4}
    found |= {"attention.head_count_kv": [0, 2, 0, 2], "ssm.state_size": 16, "ssm.inner_size": 128}
    found |= {"ssm.conv_kernel": 4, "ssm.group_count": 1}
    metadata: dict[str, Any] = {f"x.{key}": value for key, value in found.items()}
    shape = kv_shape.of_gguf({"general.architecture": "x", **metadata})
    assert (shape.keys, shape.values) == (64, 64)
    assert shape.state_bytes == 2 * 4 * (16 * 128 + 3 * (128 + 2 * 16))


@pytest.mark.parametrize("value", [None, "many", -1, 2**40, [1], [None], 1.5, {}])
def test_a_header_that_says_nonsense(value: Any) -> None:
    keys = ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv")
    for key in (*keys, "attention.key_length"):
        assert kv_shape.of_gguf({"general.architecture": "llama", f"llama.{key}": value}).token_bytes() >= 0
    assert kv_shape.of_config({"num_hidden_layers": value, "text_config": value, "layer_types": value})


def test_a_configuration() -> None:
    config = {"num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
    assert kv_shape.of_config(config).token_bytes() == 23040
    kinds = ["sliding_attention", "full_attention"] * 15
    found = kv_shape.of_config({"text_config": {**config, "layer_types": kinds, "sliding_window": 128}})
    assert found == KVShape(2880, 2880, 2880, 2880, 128)


@pytest.mark.parametrize(
    "model_type, text, expected",
    [
        ("qwen2_audio", {"model_type": "qwen2", "sliding_window": 32768, "vocab_size": 156032}, KVShape(2**17, 2**17)),
        ("qwen2_audio", {"vocab_size": 156032}, KVShape(2**17, 2**17)),
        ("llava", {"model_type": "llama", "vocab_size": 32064}, KVShape(2**17, 2**17)),
        (
            "gemma3",
            {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024},
            KVShape(5 * 1024, 5 * 1024, 29 * 1024, 29 * 1024, 1024),
        ),
    ],
)
def test_a_configuration_that_is_silent(model_type: str, text: dict[str, Any], expected: KVShape) -> None:
    """As the Hub has Qwen2-Audio-7B, LLaVA 1.5 and Gemma 3 4B."""
    assert kv_shape.of_config({"model_type": model_type, "text_config": text}) == expected


def test_what_a_configuration_leaves_out_is_what_transformers_takes() -> None:
    kinds = pytest.importorskip("transformers").CONFIG_MAPPING
    for kind, known in text_settings.DEFAULTS.items():
        taken = kinds[kind]()
        assert known == {name: getattr(taken, name, None) or getattr(taken, f"_{name}") for name in known}
    for whole, kind in text_settings.TEXTS.items():
        assert kinds[whole]().text_config.model_type == kind


def test_a_pattern_without_a_window() -> None:
    config = {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 1, "sliding_window_pattern": 4}
    assert kv_shape.of_config(config) == KVShape(256, 256)
    assert kv_shape.of_config({**config, "sliding_window": 8}) == KVShape(64, 64, 192, 192, 8)


# The memory


def test_the_gpus_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '1000\\n500\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device_memory.gpu_memory() == 1500 * MIB
    monkeypatch.setattr(device_memory, "free_host_memory", lambda: 7)
    monkeypatch.setattr(openers, "installed", lambda: ("llama",))
    monkeypatch.setattr(device_memory, "_llama_has_cuda", lambda: True)
    assert device_memory.free() == 1500 * MIB
    assert device_memory.free(options=EngineOptions(gpu_layers=0)) == 7
    assert device_memory.free(options=EngineOptions(engine="mlx")) == 7
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert device_memory.gpu_memory() == 0
    monkeypatch.setattr(device_memory, "_llama_has_cuda", lambda: False)
    assert device_memory.free() == 7
