"""The model_types that see or hear on MLX. Another one is opened without its tower, by mlx-lm, where that can: it takes
text only. Each was compared with transformers (tests/convert/record_vision.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from nitro.engines.backends.mlx.towers.gemma import GEMMA3
from nitro.engines.backends.mlx.towers.idefics import IDEFICS3, SMOLVLM
from nitro.engines.backends.mlx.towers.llava import LLAVA
from nitro.engines.backends.mlx.towers.qwen import QWEN2_5_VL, QWEN2_VL
from nitro.engines.backends.mlx.towers.qwen2_audio import QWEN2_AUDIO
from nitro.engines.media import MediaKind

FAMILIES = {
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_5_VL,
    "gemma3": GEMMA3,
    "llava": LLAVA,
    "idefics3": IDEFICS3,
    "smolvlm": SMOLVLM,
    "qwen2_audio": QWEN2_AUDIO,
}


@dataclass(frozen=True, slots=True)
class TowerKind:
    """How a folder says that it has a tower for media of a kind, and what such a tower needs of this installation."""

    media: str  # what sentences call them
    settings: str  # those of the tower, in config.json
    configuration: str  # the class that reads them, of a family's module
    weights: tuple[str, ...]  # their names have one of these
    needs: Mapping[str, str]  # packages by their modules

    def missing(self) -> bool:
        """Whether something that it needs is not installed."""
        return any(find_spec(module) is None for module in self.needs)


KINDS: dict[MediaKind, TowerKind] = {
    "image": TowerKind(
        media="images",
        settings="vision_config",
        configuration="VisionConfig",
        weights=("vision_tower.", "visual.", "vision_model."),
        needs={"mlx_vlm": "mlx-vlm", "PIL": "Pillow"},
    ),
    "audio": TowerKind(
        media="sound",
        settings="audio_config",
        configuration="AudioConfig",
        weights=("audio_tower.",),
        needs={"miniaudio": "miniaudio"},
    ),
}
