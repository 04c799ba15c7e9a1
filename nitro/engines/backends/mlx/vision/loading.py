"""What mlx-lm's loader is told, so that it opens a folder whole, with its tower."""

from dataclasses import dataclass
from typing import Any

from nitro.engines.backends.mlx.vision import families
from nitro.engines.backends.mlx.vision.family import Family, Settings
from nitro.engines.backends.mlx.vision.network import Seeing
from nitro.errors import reason


@dataclass(frozen=True, slots=True)
class Opening:
    """A family that is known, and config.json as mlx-vlm reads it."""

    family: Family
    settings: Settings

    def classes(self, config: Settings) -> tuple[Any, Any]:
        """mlx-lm's `get_model_classes`: the network's class, and what makes its configuration."""
        module = self.family.load()
        return type("SeeingModel", (Seeing, module.Model), {"family": self.family}), _Configurations(module)


@dataclass(frozen=True, slots=True)
class _Configurations:
    module: Any

    def from_dict(self, config: Settings) -> Any:
        """mlx-vlm's ModelConfig."""
        made = self.module.ModelConfig.from_dict(dict(config))
        made.text_config = self.module.TextConfig.from_dict(config["text_config"])
        made.vision_config = self.module.VisionConfig.from_dict(config["vision_config"])
        made.text_config.tie_word_embeddings = config["tie_word_embeddings"]
        return made


def find(config: Settings, weights: set[str]) -> tuple[Opening | None, str]:
    """How to open a folder that sees, or why it is opened for text alone; "" where it has no tower at all. `weights`:
    their names."""
    if not config.get("vision_config") or not any(part in name for name in weights for part in families.TOWERS):
        return None, ""
    family = families.FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return None, f"no images are known of model_type {config.get('model_type')} on MLX"
    if not families.is_installed():
        return None, "images need mlx-vlm and Pillow, which are not installed"
    try:
        settings = family.settings(config)
    except Exception as error:  # a broken configuration shows as whatever is stumbled over
        return None, f"mlx-vlm does not compute what its config.json says: {reason(error)}"
    settings["tie_word_embeddings"] = not any("lm_head." in name for name in weights)
    return Opening(family, settings), ""
