"""Every architecture that nitro/gguf knows: a GGUF is the same model on llama.cpp, served by MLX, and converted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doctored import doctor
from gguf import GGMLQuantizationType as Type
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from test_same_file import random_tokens
from tiny_families import FAMILIES, HEAD, write_family
from tiny_models import CONTEXT

from bench import converted_families, limits
from nitro.convert import checkpoint, gguf_to_mlx, hyperparameters, matrices
from nitro.gguf import architectures, folder, header
from nitro.gguf.families import rope
from nitro.gguf.families.family import ArchitectureFamily
from nitro.gguf.header import UnreadableGGUF

NOTICES = {
    "phi3, long": ["mlx-lm's phi3 always uses the factors for long contexts; llama.cpp uses others up to 64 tokens."]
}


def shares(scorer: LlamaScorer | MlxScorer, tokens: list[int]) -> np.ndarray:
    """Log-probabilities after each token, float64 [tokens, vocabulary]."""
    logits = scorer.logits(tokens, [1, len(tokens) - 1]).astype(np.float64)
    scorer.close()
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    return float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())


def limit(name: str) -> float:
    """Nats, of the mean divergence. `name`: as in `write`."""
    known = converted_families.FAMILIES.get(name.removesuffix(", converted")) if "converted" in name else None
    return limits.of_family(known["architecture"] if known else name.split(",")[0]).nats


def assert_proof_finds_the_same(file: Path, folder: Path) -> None:
    """The settings and matrices that the proof of a conversion compares."""
    models = [checkpoint.read(path) for path in (file, folder)]
    numbers = [hyperparameters.of(model.architecture, model.kind, model.config) for model in models]
    assert len(numbers[0]) > 3 and hyperparameters.differences(*numbers) == []
    expected, found = (matrices.of(model) for model in models)
    common = expected.keys() & found.keys()
    assert len(common) > 8
    assert not [name for name in common if matrices.relative_error(expected[name], found[name]) > 0]


def write(path: Path, name: str, **keys: Any) -> Path:
    """A file of the tables in tiny_families, or ", converted", in converted_families."""
    if name.endswith(", converted"):
        return converted_families.write_converted(path, name.removesuffix(", converted"), **keys)
    return write_family(path, name, **keys)


@pytest.mark.parametrize("name", [*FAMILIES, *(f"{name}, converted" for name in converted_families.SAME)])
def test_a_file_is_the_same_model_on_both_engines_and_converted(name: str, tmp_path: Path) -> None:
    file, target = write(tmp_path / "tiny.gguf", name), tmp_path / "converted"
    target.mkdir()
    assert gguf_to_mlx.convert(file, target) == NOTICES.get(name, [])
    assert_proof_finds_the_same(file, target)
    tokens = random_tokens(200)
    theirs = shares(LlamaScorer(file, context=CONTEXT, exact=True), tokens)
    served, converted = (shares(MlxScorer(path, context=CONTEXT), tokens) for path in (file, target))
    assert theirs.std() > 1, "a model that says nothing"
    most = limit(name)
    assert divergence(theirs, served) < most
    assert np.array_equal(served, converted)
    wrong = doctor(file, tmp_path / "wrong.gguf", limits.FAMILY.fault)
    assert divergence(theirs, shares(MlxScorer(wrong, context=CONTEXT), tokens)) > 100 * most


# What changes one setting of the file as llama.cpp has it. MLX must follow.
SETTINGS: list[tuple[str, str, object]] = [
    ("llama", "rope__freq_base", 500.0),
    ("llama", "attention__layer_norm_rms_epsilon", 0.5),
    ("llama, linear", "rope__scaling__factor", 1.5),
    ("qwen2", "rope__freq_base", 500.0),
    ("qwen3moe", "expert_used_count", 1),
    ("gemma2", "attn_logit_softcapping", 1.0),
    ("gemma2", "final_logit_softcapping", 2.0),
    ("gemma3", "attention__sliding_window", 4),
    ("gemma3", "attention__sliding_window_pattern", 4),
    ("gemma3", "rope__freq_base", 500.0),
    ("gemma3", "rope__freq_base_swa", 500.0),
    ("gemma3", "rope__scaling__factor", 1.5),
    ("phi3", "rope__dimension_count", 8),
    ("granite", "attention__scale", 1.0),
    ("granite", "embedding_scale", 0.1),
    ("granite", "residual_scale", 1.5),
    ("granite", "logit_scale", 0.5),
    ("glm4, converted", "rope__dimension_count", 16),
    ("glm4moe, converted", "expert_weights_scale", 3.0),
    ("glm4moe, converted", "expert_weights_norm", False),
    ("gpt-oss, converted", "attention__sliding_window", 4),
    ("gpt-oss, converted", "rope__scaling__factor", 2.0),
    ("gpt-oss, converted", "rope__scaling__original_context_length", 256),
    ("olmo3, converted", "attention__sliding_window", 4),
    ("olmo3, converted", "attention__sliding_window_pattern", [True, False, True, False]),
    ("minimax-m2, converted", "rope__dimension_count", 16),
    ("minimax-m2, converted", "expert_used_count", 1),
    ("ministral3, converted", "attention__temperature_scale", 1.0),
    ("ministral3, converted", "rope__scaling__yarn_log_multiplier", 0.25),
    ("mixtral, converted", "expert_used_count", 1),
    ("deepseek-v3, converted", "expert_weights_scale", 3.0),
    ("granitehybrid, converted", "rope__scaling__finetuned", True),  # positions
    ("gemma4, converted", "attention__sliding_window", 4),
    ("gemma4, converted", "rope__freq_base_swa", 500.0),
    ("gemma4, converted", "final_logit_softcapping", 2.0),
    ("gemma4-moe, converted", "expert_used_count", 1),
    ("qwen35, converted", "rope__dimension_count", 16),
    ("cohere, converted", "logit_scale", 0.5),
    ("cohere2, converted", "attention__sliding_window", 4),
    ("cohere2, converted", "attention__sliding_window_pattern", 2),
    ("stablelm, converted", "rope__dimension_count", 8),
    ("qwen3next, converted", "rope__freq_base", 500.0),
    ("qwen35moe, converted", "rope__freq_base", 500.0),
    ("gemma, converted", "rope__freq_base", 500.0),
    ("starcoder2, converted", "attention__layer_norm_epsilon", 0.5),
    ("nemotron, converted", "rope__dimension_count", 16),
    ("falcon-h1, converted", "rope__freq_base", 500.0),
]


@pytest.mark.parametrize(("name", "key", "value"), SETTINGS)
def test_every_setting_counts(name: str, key: str, value: object, tmp_path: Path) -> None:
    tokens = random_tokens(100)
    usual, other = write(tmp_path / "usual.gguf", name), write(tmp_path / "other.gguf", name, **{key: value})
    theirs = shares(LlamaScorer(other, context=CONTEXT, exact=True), tokens)
    assert divergence(theirs, shares(MlxScorer(other, context=CONTEXT), tokens)) < limit(name)
    assert divergence(theirs, shares(MlxScorer(usual, context=CONTEXT), tokens)) > 1000 * limit(name)


# without rotation the order of rows in a head changes nothing
ROTATED: dict[str, dict[str, Any]] = {"granitehybrid": {"rope__scaling__finetuned": True}}


def put(architecture: str, family: ArchitectureFamily, other: ArchitectureFamily, patch: pytest.MonkeyPatch) -> None:
    """Put the other in the family's place, which may be a variant."""
    if architectures.FAMILIES[architecture] is family:
        patch.setitem(architectures.FAMILIES, architecture, other)
    variants = architectures.VARIANTS.get(architecture, [])
    patched = [(fits, other if each is family else each) for fits, each in variants]
    patch.setitem(architectures.VARIANTS, architecture, patched)


@pytest.mark.parametrize(("quirk", "least"), [("rows", 12), ("values", 8)])
def test_every_quirk_counts(quirk: str, least: int, tmp_path: Path) -> None:
    """A family, or a variant of one, without one of its quirks is another model. `least`: how many have it."""
    tokens, found = random_tokens(50), []
    for name in (*FAMILIES, *(f"{name}, converted" for name in converted_families.SAME)):
        file = write(tmp_path / "tiny.gguf", name, **ROTATED.get(name.removesuffix(", converted"), {}))
        head = header.read(file)
        family = architectures.of(head)
        if not getattr(family, quirk) or family.rows.keys() & family.shapes.keys():  # without them no shape fits
            continue
        right = shares(MlxScorer(file, context=CONTEXT), tokens)
        with pytest.MonkeyPatch.context() as patch:
            put(head.architecture, family, replace(family, **{quirk: {}}), patch)
            assert divergence(right, shares(MlxScorer(file, context=CONTEXT), tokens)) > 1000 * limits.FAMILY.nats, name
        found.append(family)
    assert len(found) >= least


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama_3s_rotary_factors_are_found_again(factor: float, tmp_path: Path) -> None:
    """As llama.cpp's converter computes them from the settings of Llama 3.1 and 3.2."""
    frequencies = 500000.0 ** -(np.arange(0, HEAD, 2, dtype=np.float32) / HEAD)
    factors = []
    for wave in 2 * np.pi / frequencies:
        smooth = (8192 / wave - 1) / 3
        between = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1 if wave < 2048 else factor if wave > 8192 else between)
    assert len(set(factors)) > 2
    given = {"rope_freqs.weight": (np.array(factors, np.float32), Type.F32)}
    file = write_family(tmp_path / "tiny.gguf", "llama, rotary factors", replaced=given, rope__freq_base=500000.0)
    scaling = architectures.configuration(header.read(file))["rope_scaling"]
    assert scaling == {"rope_type": "llama3", "type": "llama3", "factor": factor, **rope.LLAMA3}
    tokens = random_tokens(200)
    theirs = shares(LlamaScorer(file, context=CONTEXT, exact=True), tokens)
    assert divergence(theirs, shares(MlxScorer(file, context=CONTEXT), tokens)) < limits.FAMILY.nats


@pytest.mark.parametrize(
    ("name", "key", "value", "says"),
    [
        ("qwen3moe", "rope__scaling__factor", 4.0, "qwen3moe.rope.scaling.factor is 4.0; supported is 1.0."),
        ("gemma3", "final_logit_softcapping", 30.0, "final_logit_softcapping is 30.0; supported is 0.0."),
        ("qwen2", "expert_count", 8, "qwen2.expert_count is 8; supported is 0."),
        (
            *("deepseek-v2, converted", "vocab_size", 1024),
            "deepseek2.expert_gating_func is not set; supported is 2.",
        ),
        (
            *("gemma4, converted", "attention__value_length_swa", 8),
            "gemma4.attention.value_length_swa is not the head size, 16.",
        ),
        (
            *("gemma4, converted", "feed_forward_length", [128, 64, 128, 128, 128, 128]),
            "its layers' feed_forward_length follows no known pattern.",
        ),
        (
            *("gemma4-moe, converted", "attention__head_count_kv", [2, 1, 1, 1]),
            "its layers of the same kind have [1, 2] KV heads.",
        ),
        ("cohere2, converted", "rope__scaling__type", "yarn", "cohere2.rope.scaling.type is yarn; supported is none."),
        (
            *("exaone4, converted", "attention__sliding_window", 32),
            "has windows, which llama.cpp uses only with 64 layers.",
        ),
        ("stablelm, converted", "expert_count", 8, "stablelm.expert_count is 8; supported is 0."),
        ("mamba2, converted", "ssm__group_count", 2, "mamba2.ssm.group_count is 2; supported is 1."),
        ("granite", "logit_scale", None, "has no granite.logit_scale in its metadata."),
        ("mixtral, converted", "rope__scaling__factor", 4.0, "llama.rope.scaling.factor is 4.0; supported is 1.0."),
        ("lfm2, converted", "attention__sliding_window", 16, "lfm2.attention.sliding_window is 16; supported is 0."),
        ("gpt-oss, converted", "rope__freq_base_swa", 100.0, "supported is that of all layers, 150000.0."),
        ("gpt-oss, converted", "rope__scaling__attn_factor", 2.0, "rope.scaling.attn_factor is 2.0; supported is 1.0."),
        (
            "ministral3, converted",
            "rope__scaling__type",
            "none",
            "temperature_scale is 0.10000000149011612; supported is 0.0.",
        ),
    ],
)
def test_settings_that_are_refused(name: str, key: str, value: object, says: str, tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", name, **{key: value})
    with pytest.raises(UnreadableGGUF) as refusal:
        architectures.configuration(architectures.read(file))
    assert str(refusal.value).endswith(says)


@pytest.mark.parametrize("factor", [None, 0.0, 1.0, 4.0])
def test_a_scaling_that_changes_nothing(factor: float | None, tmp_path: Path) -> None:
    """Of a model that scales no positions: llama.cpp takes no factor, 0 and 1 for none."""
    keys = {"rope__scaling__type": "linear", "rope__scaling__factor": factor}
    file = write_family(tmp_path / "tiny.gguf", "qwen3moe", **keys)
    if factor == 4.0:
        with pytest.raises(UnreadableGGUF, match=r"qwen3moe\.rope\.scaling\.type is linear; supported is none\."):
            architectures.configuration(header.read(file))
        return
    usual, tokens = write_family(tmp_path / "usual.gguf", "qwen3moe"), random_tokens(20)
    found = [shares(MlxScorer(path, context=CONTEXT), tokens) for path in (usual, file)]
    assert np.array_equal(*found)
    theirs = [shares(LlamaScorer(path, context=CONTEXT, exact=True), tokens) for path in (usual, file)]
    assert np.array_equal(*theirs)


def test_rotary_factors_that_mlx_lms_model_has_not(tmp_path: Path) -> None:
    """As in Mixtrals that are made of several Llama 3."""
    tensors = {**converted_families.FAMILIES["mixtral"]["tensors"], "rope_freqs.weight": {"shape": [8], "layers": []}}
    found = {**converted_families.FAMILIES["mixtral"], "tensors": tensors}
    file = converted_families.write_converted(tmp_path / "tiny.gguf", "mixtral", found=found)
    with pytest.raises(
        UnreadableGGUF, match=r"scales positions \(rope_freqs.weight\), which mlx-lm's mixtral does not"
    ):
        architectures.configuration(header.read(file))


YARN: dict[str, Any] = {
    "rope__scaling__type": "yarn",
    "rope__scaling__factor": 8.0,
    "rope__scaling__original_context_length": 64,
    "rope__scaling__yarn_log_multiplier": 0.1,
}


@pytest.mark.parametrize("epsilon", [1e-6, 1e-5])
def test_deepseeks_yarn(epsilon: float, tmp_path: Path) -> None:
    """Which the real ones have. `epsilon`: of the norms, which tells apart two models of mlx-lm."""
    keys = {**YARN, "attention__layer_norm_rms_epsilon": epsilon}
    file, tokens = write(tmp_path / "tiny.gguf", "deepseek-v3, converted", **keys), random_tokens(200)
    theirs = shares(LlamaScorer(file, context=CONTEXT, exact=True), tokens)
    assert divergence(theirs, shares(MlxScorer(file, context=CONTEXT), tokens)) < limits.FAMILY.nats
    assert folder.notices(header.read(file)) == []
    without = {**keys, "rope__scaling__yarn_log_multiplier": None}
    with pytest.raises(UnreadableGGUF, match=r"has no deepseek2\.rope\.scaling\.yarn_log_multiplier"):
        architectures.configuration(header.read(write(file, "deepseek-v3, converted", **without)))


def test_a_yarn_that_llama_cpp_does_not_follow(tmp_path: Path) -> None:
    """Kimi K2's. If llama.cpp learns to read it, the notice must go."""
    keys = {**YARN, "rope__scaling__yarn_beta_fast": 1.0}
    usual, kimi = (
        write(tmp_path / f"{name}.gguf", "deepseek-v3, converted", **changed)
        for name, changed in {"usual": YARN, "kimi": keys}.items()
    )
    says = "The file scales positions between 1 and 1 rotations, as its model was trained; llama.cpp always between 1"
    assert folder.notices(header.read(kimi)) == [f"{says} and 32, so its answers differ."]
    tokens = random_tokens(100)
    theirs = [shares(LlamaScorer(file, context=CONTEXT, exact=True), tokens) for file in (usual, kimi)]
    assert np.array_equal(*theirs)


@pytest.mark.parametrize("name", ["glm4moe", "deepseek-v3"])
def test_a_scale_of_experts_of_0_is_none(name: str, tmp_path: Path) -> None:
    """As in llama.cpp."""
    file = write(tmp_path / "tiny.gguf", f"{name}, converted", expert_weights_scale=0.0)
    assert architectures.configuration(header.read(file))["routed_scaling_factor"] == 1.0


def test_a_window_that_mlx_lm_has_not(tmp_path: Path) -> None:
    head = header.read(write_family(tmp_path / "tiny.gguf", "gemma2", attention__sliding_window=64))
    says = "mlx-lm's gemma2 has no sliding window: beyond 64 tokens its answers differ from llama.cpp's."
    assert folder.notices(head) == [says]


@pytest.mark.parametrize(
    ("pattern", "every"), [([True, False] * 2, 2), ([True] * 5 + [False], 6), ([True, False, False], None)]
)
def test_patterns_of_windows(pattern: list[bool], every: int | None, tmp_path: Path) -> None:
    """One for each layer, or a number."""
    head = header.read(write_family(tmp_path / "tiny.gguf", "gemma3"))
    head.metadata["gemma3.attention.sliding_window_pattern"] = pattern
    if every is None:
        with pytest.raises(UnreadableGGUF, match="follow no regular pattern"):
            architectures.configuration(head)
    else:
        assert architectures.configuration(head)["sliding_window_pattern"] == every
