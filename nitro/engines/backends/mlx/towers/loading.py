"""What mlx-lm's loader is told, so that it opens a folder whole, with its tower."""

from dataclasses import dataclass
from typing import Any

from nitro.engines.backends.mlx.towers.families import FAMILIES, KINDS, TowerKind
from nitro.engines.backends.mlx.towers.family import Family, Settings
from nitro.engines.backends.mlx.towers.network import Sensing
from nitro.errors import reason


@dataclass(frozen=True, slots=True)
class Opening:
    """A family that is known, and config.json as its classes read it."""

    family: Family
    settings: Settings

    def classes(self, config: Settings) -> tuple[Any, Any]:
        """mlx-lm's `get_model_classes`: the network's class, and what makes its configuration."""
        module = self.family.load()
        kind = KINDS[self.family.kind]
        return type("SensingModel", (Sensing, module.Model), {"family": self.family}), _Configurations(module, kind)


@dataclass(frozen=True, slots=True)
class _Configurations:
    module: Any
    kind: TowerKind

    def from_dict(self, config: Settings) -> Any:
        """The module's ModelConfig."""
        made = self.module.ModelConfig.from_dict(dict(config))
        made.text_config = self.module.TextConfig.from_dict(config["text_config"])
        tower = getattr(self.module, self.kind.configuration)
        setattr(made, self.kind.settings, tower.from_dict(config[self.kind.settings]))
        made.text_config.tie_word_embeddings = config["tie_word_embeddings"]
        return made


def find(config: Settings, weights: set[str]) -> tuple[Opening | None, str]:
    """How to open a folder that sees or hears, or why it is opened for text alone; "" where it has no tower at all.
    `weights`: their names."""
    kind = next((kind for kind, about in KINDS.items() if _has(about, config, weights)), None)
    if kind is None:
        return None, ""
    about, family = KINDS[kind], FAMILIES.get(str(config.get("model_type")))
    if family is None or family.kind != kind:
        return None, f"no tower for {about.media} is known of model_type {config.get('model_type')} on MLX"
    if about.missing():
        return None, f"for {about.media} {' and '.join(about.needs.values())} must be installed"
    try:
        settings = family.settings(config)
    except Exception as error:  # a broken configuration shows as whatever is stumbled over
        return None, f"what its config.json says is not computed here: {reason(error)}"
    settings["tie_word_embeddings"] = not any("lm_head." in name for name in weights)
    return Opening(family, settings), ""


def _has(kind: TowerKind, config: Settings, weights: set[str]) -> bool:
    return bool(config.get(kind.settings)) and any(part in name for name in weights for part in kind.weights)
