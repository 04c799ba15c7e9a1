"""The model_types that see on MLX. Another one is opened without its tower, by mlx-lm, where that can: it takes text
only. Each was compared with transformers (tests/convert/record_vision.py)."""

from importlib.util import find_spec
from typing import Any

from nitro.engines.backends.mlx.vision.family import Family
from nitro.engines.backends.mlx.vision.gemma import GEMMA3
from nitro.engines.backends.mlx.vision.idefics import IDEFICS3, SMOLVLM
from nitro.engines.backends.mlx.vision.llava import LLAVA
from nitro.engines.backends.mlx.vision.qwen import QWEN2_5_VL, QWEN2_VL

FAMILIES = {
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_5_VL,
    "gemma3": GEMMA3,
    "llava": LLAVA,
    "idefics3": IDEFICS3,
    "smolvlm": SMOLVLM,
}
TOWERS = ("vision_tower.", "visual.", "vision_model.")  # names of weights have one of these


def of_config(config: dict[str, Any]) -> Family | None:
    """The family of a config.json that has a tower; None where none is known."""
    return FAMILIES.get(str(config.get("model_type"))) if config.get("vision_config") else None


def is_installed() -> bool:
    """Whether mlx-vlm and what it needs of us are."""
    return find_spec("mlx_vlm") is not None and find_spec("PIL") is not None
