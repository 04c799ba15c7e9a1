"""The numbers that a model computes with beside its weights, wherever its kind writes them. A wrong rotary base is
below quantisation's noise in the logits of a short text, and ruins long ones.

Only of models whose settings are known in every kind of file: those of gguf/architectures.py.
"""

from dataclasses import dataclass
from math import isclose
from typing import Any

from nitro.gguf import architectures

CLOSE = 1e-5  # relative: a GGUF has them in float32


@dataclass(frozen=True, slots=True)
class Setting:
    """`paths`: in a configuration, the first that leads to a number. `key`: in a GGUF, after the architecture's name.
    `default`: where a GGUF has none."""

    paths: tuple[str, ...]
    key: str
    default: float | None = None


SETTINGS = {
    "rope base": Setting(
        ("rope_parameters.full_attention.rope_theta", "rope_parameters.rope_theta", "rope_theta"),
        "rope.freq_base",
        10000.0,
    ),
    "rope base of windows": Setting(
        ("rope_parameters.sliding_attention.rope_theta", "rope_local_base_freq"), "rope.freq_base_swa"
    ),
    "norm epsilon": Setting(("rms_norm_eps",), "attention.layer_norm_rms_epsilon"),
    "number of heads": Setting(("num_attention_heads",), "attention.head_count"),
    "number of KV heads": Setting(("num_key_value_heads",), "attention.head_count_kv"),
    "number of layers": Setting(("num_hidden_layers",), "block_count"),
    "number of used experts": Setting(("num_experts_per_tok",), "expert_used_count"),
    "soft cap of logits": Setting(("final_logit_softcapping",), "final_logit_softcapping"),
    "scale of embeddings": Setting(("embedding_multiplier",), "embedding_scale"),
    "scale of residuals": Setting(("residual_multiplier",), "residual_scale"),
    "scale of logits": Setting(("logits_scaling",), "logit_scale"),
}


def of(architecture: str, kind: str, said: dict[str, Any]) -> dict[str, float]:
    """`said`: a GGUF's metadata, or the configuration as the backend completed it."""
    if not architectures.is_known(architecture, kind == "gguf"):
        return {}
    found = {
        name: _in_gguf(setting, said) if kind == "gguf" else _in(setting, said) for name, setting in SETTINGS.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def differences(reference: dict[str, float], model: dict[str, float]) -> list[str]:
    """One sentence's end for each setting that both have, and that is not the same."""
    return [
        f"the {name} is {model[name]:g}, and {value:g} in the reference"
        for name, value in reference.items()
        if name in model and not isclose(value, model[name], rel_tol=CLOSE)
    ]


def _in_gguf(setting: Setting, metadata: dict[str, Any]) -> float | None:
    return _number(metadata.get(f"{metadata.get('general.architecture')}.{setting.key}", setting.default))


def _in(setting: Setting, config: dict[str, Any]) -> float | None:
    numbers = (_number(_at(config, path)) for path in setting.paths)
    return next((number for number in numbers if number is not None), None)


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _number(value: Any) -> float | None:
    """None of anything else; some files have a number for each layer."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
