"""Where mlx-lm 0.32.2 silently computes another model than the folder's, of what it opens.

Each row was seen on a tiny checkpoint beside transformers (tests/convert/record_architectures.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Settings for which mlx-lm has another value than transformers and llama.cpp have, where config.json leaves them out;
# by model_type. findings/mlx-lm-granite-time-steps.sh; and where nothing says how positions are embedded, it rotates
DEFAULTS: dict[str, dict[str, Any]] = {
    "granitemoehybrid": {"time_step_limit": [0.0, 1e30], "position_embedding_type": "nope"},
}
CURE = (
    "Convert the original weights to a GGUF, which MLX opens, too, and computes right: nitro convert ORIGINAL --to gguf"
)


@dataclass(frozen=True, slots=True)
class IgnoredSetting:
    """A setting that mlx-lm's model of this name does not follow. `matters`: whether this folder's value changes
    anything; it is given config.json."""

    name: str
    matters: Callable[[Mapping[str, Any]], bool]


def _not_one(name: str) -> IgnoredSetting:
    """A factor."""
    return IgnoredSetting(name, lambda config: config.get(name, 1) != 1)


# by model_type. findings/mlx-lm-falcon-h1-multipliers.sh; and it normalises groups of states all as one.
# A folder that mlx_lm.convert wrote has the same settings, and its weights are wrong.
IGNORED: dict[str, tuple[IgnoredSetting, ...]] = {
    "falcon_h1": (
        _not_one("key_multiplier"),
        _not_one("attention_in_multiplier"),
        IgnoredSetting(
            "mamba_rms_norm", lambda config: bool(config.get("mamba_rms_norm")) and config.get("mamba_n_groups", 1) != 1
        ),
    )
}


def defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that mlx-lm is to be given beside config.json's."""
    known = DEFAULTS.get(str(config.get("model_type")), {})
    return {name: value for name, value in known.items() if config.get(name) is None}


def problem(config: Mapping[str, Any]) -> str | None:
    """Why MLX would give wrong answers of a folder in mlx-lm's or transformers' layout: a sentence without a full
    stop. None where it would not."""
    model = str(config.get("model_type"))
    for setting in IGNORED.get(model, ()):
        if setting.matters(config):
            value = config[setting.name]
            return f"{setting.name} is {value}, which mlx-lm's {model} ignores, so that its answers are wrong. {CURE}"
    return None
