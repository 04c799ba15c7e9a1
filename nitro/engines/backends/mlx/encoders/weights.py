"""Loads an encoder's weights from a folder in transformers' layout. What is not known is refused by name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from nitro.checkpoints import encoders
from nitro.engines.backends.mlx.encoders.families import FAMILIES, EncoderFamily, HeadShape, Names
from nitro.engines.backends.mlx.encoders.heads import ScoreHead
from nitro.engines.backends.mlx.encoders.network import Encoder
from nitro.engines.runner import LoadError

NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}  # of norms, as TensorFlow's checkpoints have them


def labels(config: dict[str, Any]) -> int:
    """Of a cross-encoder: how many logits it has; 0 for a model that is none."""
    if not encoders.is_cross_encoder(config):
        return 0
    names = config.get("id2label")
    return len(names) if isinstance(names, dict) else int(config.get("num_labels") or 2)


def load(folder: Path, config: dict[str, Any]) -> tuple[Encoder, ScoreHead | None]:
    """The network, and the head of one that is a cross-encoder; their weights are not read yet. Raises LoadError."""
    family = FAMILIES[config["model_type"]]
    _refuse_packed(folder, config)
    try:
        shape = family.shape(config)
        head = family.head(config) if family.head and labels(config) else None
    except (ValueError, TypeError) as error:
        raise LoadError(f"MLX cannot open {folder}: {error}.") from None
    if labels(config) and head is None:
        raise LoadError(f"MLX cannot open {folder}: a cross-encoder's head is not known for {config['model_type']}.")
    arrays = read(folder)
    if shape.layers > len(arrays):
        raise LoadError(
            f"{folder}: config.json says it has {shape.layers} layers, and the weights are {len(arrays)} arrays."
        )
    if shape.width % shape.heads:
        raise LoadError(f"{folder}: config.json says its width is {shape.width}, with {shape.heads} heads.")
    network = Encoder(shape)
    found = dict(_sorted(folder, family, head, arrays))
    _fill(folder, network, {name: array for (part, name), array in found.items() if part == "encoder"})
    if head is None:
        return network, None
    score_head = ScoreHead(head, shape.width, labels(config), shape.eps)
    _fill(folder, score_head, {name: array for (part, name), array in found.items() if part == "head"})
    return network, score_head


def read(folder: Path) -> dict[str, mx.array]:
    """All arrays of the folder's safetensors, none of them read yet. Raises LoadError where there are none."""
    arrays: dict[str, mx.array] = {}
    for file in sorted(folder.glob("*.safetensors")):
        loaded = mx.load(str(file))
        arrays |= loaded if isinstance(loaded, dict) else {}
    if not arrays:
        raise LoadError(f"{folder} has no *.safetensors; transformers' save_pretrained(…) writes them.")
    return arrays


def _sorted(
    folder: Path, family: EncoderFamily, head: HeadShape | None, arrays: dict[str, mx.array]
) -> Iterator[tuple[tuple[str, str], mx.array]]:
    """Each array under the part that it is of and its name there."""
    for name, array in arrays.items():
        bare = name
        for prefix in family.prefixes:
            bare = bare.removeprefix(prefix)
        for old, new in OLD_ENDINGS.items():
            bare = bare.removesuffix(old) + new if bare.endswith(old) else bare
        if head and (place := _placed(head.names, bare, array)):
            yield from ((("head", ours), part) for ours, part in place)
        elif place := _placed(family.names, bare, array):
            yield from ((("encoder", ours), part) for ours, part in place)
        elif not bare.startswith(family.ignored):
            raise LoadError(f"MLX cannot open {folder}: its tensor {name} is not known for this architecture.")


def _placed(names: Names, name: str, array: mx.array) -> list[tuple[str, mx.array]]:
    """What one of transformers' arrays is here: names and arrays; none where the table does not have it."""
    module, _, kind = name.rpartition(".")
    numbers = NUMBER.findall(f"{module}.")
    ours = names.get(NUMBER.sub("N", f"{module}.")[:-1])
    if ours is None or kind not in ("weight", "bias"):
        return []
    parts = mx.split(array, len(ours)) if len(ours) > 1 else [array]
    full = [one.replace("N", numbers[0]) if numbers else one for one in ours]
    return [(f"{one}.{kind}", part) for one, part in zip(full, parts, strict=True)]


def _fill(folder: Path, module: nn.Module, arrays: dict[str, mx.array]) -> None:
    """Give the module its weights: all that it has, and no other."""
    wanted = dict(tree_flatten(module.parameters()))
    for name, empty in wanted.items():
        if name not in arrays:
            raise LoadError(f"MLX cannot open {folder}: its weights have no {name} (as Nitro calls it).")
        if arrays[name].shape != empty.shape or not mx.issubdtype(arrays[name].dtype, mx.floating):
            raise LoadError(
                f"MLX cannot open {folder}: {name} has the shape {arrays[name].shape} and the type "
                f"{arrays[name].dtype}; by config.json it is {empty.shape}, of floats."
            )
    extra = sorted(arrays.keys() - wanted.keys())
    if extra:
        raise LoadError(f"MLX cannot open {folder}: by config.json its architecture has no {extra[0]}.")
    module.load_weights(list(arrays.items()))
    module.eval()


def _refuse_packed(folder: Path, config: dict[str, Any]) -> None:
    for key in ("quantization", "quantization_config"):
        if config.get(key):
            raise LoadError(
                f"MLX cannot open {folder}: its weights are packed ({key}); of encoders only floats are opened."
            )
    if config.get("position_embedding_type", "absolute") not in ("absolute", "rotary", "rope"):
        raise LoadError(f"MLX cannot open {folder}: position_embedding_type is {config['position_embedding_type']}.")
    if config.get("is_decoder"):
        raise LoadError(f"MLX cannot open {folder}: it is a decoder (is_decoder).")
