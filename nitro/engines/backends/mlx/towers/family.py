"""What there is to know of a family of models that see or hear: one of these for each model_type (see families.py)."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.engines.media import MediaKind

Arrays = Mapping[str, np.ndarray]  # what a reader makes of a medium, see readers.py
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TowerInput:
    """What is encoded by itself, into so many rows: a part of a picture, or of a sound. `grid`: their (time, height,
    width) where positions are of that kind: int32 [3, tokens]."""

    arrays: Arrays
    tokens: int
    grid: np.ndarray | None = None

    @property
    def positions(self) -> int:
        """By how many the position goes on."""
        return self.tokens if self.grid is None else int(self.grid.max()) + 1


def _none(*_: Any) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How a model is made of the classes of a module, and how a medium becomes rows of it.

    `settings`: config.json as those classes read it, with "text_config" and the tower's; raises ValueError for what
    they do not compute. `names`: patterns of weights' names, and what they become. `pieces`: of one medium that was
    read, texts whose control tokens are parsed, and what is between. `encode`: → [tokens, width].
    """

    module: str  # of `package`
    settings: Callable[[Settings], Settings]
    pieces: Callable[[Any, Arrays], Iterator[str | TowerInput]]
    encode: Callable[[Any, Arrays], mx.array]
    kind: MediaKind = "image"  # what its tower is for
    package: str = "mlx_vlm.models"
    tower: str = "vision_tower"  # its attribute of the model
    names: tuple[tuple[str, str], ...] = ()
    processor: Settings = field(default_factory=dict)  # what an image processor is told at each call
    mrope: bool = False
    atomic: bool = False  # rows of a picture see each other
    scale: Callable[[Any], float | None] = _none  # by what the embedding of a text is multiplied; given the body
    mend: Callable[[Any], None] = _none  # what is done to the model that was made, before its weights come
    window: Callable[[Any, int], int | None] = _none  # of a layer, tokens; None: it sees all. Given the body, the layer

    def load(self) -> Any:
        """The module: Model, ModelConfig, TextConfig, and the tower's configuration."""
        return importlib.import_module(f"{self.package}.{self.module}")


def text_settings(config: Settings) -> Settings:
    """Those of the text's layers, which older configurations have beside the others; rotations as they were written
    before transformers 5."""
    text = {**config, **(config.get("text_config") or {})}
    rope = text.get("rope_parameters") or {}
    if "rope_theta" in rope:
        text["rope_theta"] = rope["rope_theta"]
    return text


def check(settings: Settings, **known: Any) -> None:
    """Raises ValueError where a setting is another than the one that is known to be computed. A tuple: one of these."""
    for name, values in known.items():
        allowed = values if isinstance(values, tuple) else (values,)
        if name in settings and settings[name] not in allowed:
            raise ValueError(f"{name} is {settings[name]}, and what is computed is {' or '.join(map(str, allowed))}")


def check_llama(text: Settings, **known: Any) -> None:
    """Raises ValueError where the text's layers are not those of Llama or Qwen2, as MLX's libraries have them. `known`:
    see `check`."""
    check(text, hidden_act="silu", attention_bias=False, mlp_bias=False, **known)
    check(text.get("rope_parameters") or {}, rope_type="default")
    _check_heads(text)


def _check_heads(text: Settings) -> None:
    """Raises ValueError for heads whose width does not follow from their number."""
    heads = text["num_attention_heads"]
    if (width := text.get("head_dim")) and width * heads != text["hidden_size"]:
        raise ValueError(f"head_dim is {width}, and what is computed is {text['hidden_size'] // heads}")
