"""The numbers that a model computes with besides its weights, wherever each kind of file stores them. A wrong rotary
base is below the noise of quantisation in the logits of a short text, and ruins long ones.

Only for models whose hyperparameters are known in every kind of file: those of gguf/architectures.py.
"""

from dataclasses import dataclass
from math import isclose
from typing import Any

from nitro.gguf import architectures

RELATIVE_TOLERANCE = 1e-5  # a GGUF stores them in float32


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """Where one number is stored. `paths`: in a configuration; the first that leads to a number counts. `key`: in a
    GGUF, after the architecture's name. `default`: where a GGUF does not have it."""

    paths: tuple[str, ...]
    key: str
    default: float | None = None
    less: str | None = None  # a key of a GGUF whose number is not counted by configurations
    unless: str | None = None  # a key of a GGUF with which the number has another meaning there


HYPERPARAMETERS = {
    "rope base": Hyperparameter(
        ("rope_parameters.full_attention.rope_theta", "rope_parameters.rope_theta", "rope_theta"),
        "rope.freq_base",
        10000.0,
    ),
    "rope base of windows": Hyperparameter(
        ("rope_parameters.sliding_attention.rope_theta", "rope_local_base_freq"), "rope.freq_base_swa"
    ),
    "norm epsilon": Hyperparameter(("rms_norm_eps",), "attention.layer_norm_rms_epsilon"),
    "number of heads": Hyperparameter(("num_attention_heads",), "attention.head_count"),
    "number of KV heads": Hyperparameter(
        ("num_key_value_heads",), "attention.head_count_kv", unless="attention.kv_lora_rank"
    ),
    "number of layers": Hyperparameter(("num_hidden_layers",), "block_count", less="nextn_predict_layers"),
    "number of used experts": Hyperparameter(("num_experts_per_tok",), "expert_used_count"),
    "soft cap of logits": Hyperparameter(("final_logit_softcapping",), "final_logit_softcapping"),
    "scale of embeddings": Hyperparameter(("embedding_multiplier",), "embedding_scale"),
    "scale of residuals": Hyperparameter(("residual_multiplier",), "residual_scale"),
    "scale of logits": Hyperparameter(("logits_scaling",), "logit_scale"),
}


def of(architecture: str, kind: str, settings: dict[str, Any]) -> dict[str, float]:
    """The model's hyperparameters by name; empty where the architecture is not known here.

    `settings`: a GGUF's metadata, or the configuration as the backend completed it.
    """
    if not architectures.is_known(architecture, kind == "gguf"):
        return {}
    found = {
        name: _in_gguf(hyperparameter, settings) if kind == "gguf" else _in_config(hyperparameter, settings)
        for name, hyperparameter in HYPERPARAMETERS.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def differences(reference: dict[str, float], model: dict[str, float]) -> list[str]:
    """One phrase for each hyperparameter that both have, and that differs."""
    return [
        f"the {name} is {model[name]:g}, and {value:g} in the reference"
        for name, value in reference.items()
        if name in model and not isclose(value, model[name], rel_tol=RELATIVE_TOLERANCE)
    ]


def _in_gguf(hyperparameter: Hyperparameter, metadata: dict[str, Any]) -> float | None:
    prefix = metadata.get("general.architecture")
    if hyperparameter.unless and f"{prefix}.{hyperparameter.unless}" in metadata:
        return None
    number = _number(metadata.get(f"{prefix}.{hyperparameter.key}", hyperparameter.default))
    if number is None or hyperparameter.less is None:
        return number
    return number - float(metadata.get(f"{prefix}.{hyperparameter.less}", 0))


def _in_config(hyperparameter: Hyperparameter, config: dict[str, Any]) -> float | None:
    numbers = (_number(_at(config, path)) for path in hyperparameter.paths)
    return next((number for number in numbers if number is not None), None)


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _number(value: Any) -> float | None:
    """None for anything else, since some files have a number for each layer."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
