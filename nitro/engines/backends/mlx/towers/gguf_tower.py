"""The tower of a model in GGUF, which is in a file of its own (mmproj), for mlx-vlm's classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from nitro.engines.backends.mlx.towers import loading
from nitro.engines.backends.mlx.towers.family import Settings
from nitro.engines.backends.mlx.towers.loading import Opening
from nitro.errors import reason
from nitro.gguf import projectors
from nitro.gguf.header import Header, UnreadableGGUF
from nitro.gguf.projectors import ProjectorKind


@dataclass(frozen=True, slots=True)
class GgufTower:
    """A projector that goes with a text model. `config`: of both together, as config.json would have it."""

    opening: Opening
    config: Settings
    pictures: Settings  # preprocessor_config.json
    header: Header
    kind: ProjectorKind

    def network(self) -> Any:
        """Text and tower, without their weights."""
        model, settings = self.opening.classes(self.config)
        return model(settings.from_dict(self.config))

    def arrays(self) -> dict[str, mx.array]:
        """The tower's weights, by transformers' names. Raises UnreadableGGUF."""
        found = projectors.arrays(self.header, self.kind)
        return {name: mx.array(values) for name, values in found.items()}


def find(path: Path, text: Header, config: Settings, names: set[str]) -> tuple[GgufTower | None, str]:
    """The tower in a file, or why there is none for MLX. `config`, `names`: of the text, and of its weights."""
    try:
        header = projectors.read(path)
        kind = projectors.of(header, text)
        whole = {"model_type": kind.model_type, "text_config": config, **kind.settings(header)}
        pictures = kind.pictures(header)
    except UnreadableGGUF as error:
        return None, str(error).rstrip(".")
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}"
    except Exception as error:  # metadata of another type than is expected
        return None, f"{path} cannot be read, because of its metadata: {reason(error)}"
    opening, blind = loading.find(whole, {*names, projectors.TOWER + "."})
    if opening is None:
        return None, blind
    return GgufTower(opening, {**whole, **opening.settings}, pictures, header, kind), ""
