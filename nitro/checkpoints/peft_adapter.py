"""Reads a LoRA as PEFT 0.21 writes it: adapter_config.json and adapter_model.safetensors.

Tensors: base_model.model.NAME.lora_A.weight [rank, in] and .lora_B.weight [out, rank]; of an embedding
NAME.lora_embedding_A [rank, tokens] and .lora_embedding_B [width, rank], and beside it NAME.base_layer.weight, which is
the model's own weight. Rank and alpha of a layer: `r` and `lora_alpha`, or the first regular expression of
`rank_pattern` and `alpha_pattern` that fits the end of its name (peft.utils.other.get_pattern_key). The scale is
alpha / rank, with `use_rslora` alpha / √rank (LoraLayer.update_layer in peft/tuners/lora/layer.py).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from nitro.checkpoints import adapter_kinds
from nitro.checkpoints.adapter_tensors import AdapterTensors
from nitro.checkpoints.adapters import Adapter, LowRank, checked
from nitro.errors import AdapterError

PREFIX = "base_model.model."
PARTS = ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B")
OF_THE_MODEL = "base_layer.weight"  # frozen; written beside the LoRA of an embedding


@dataclass(frozen=True, slots=True)
class Refused:
    """A setting that makes the adapter more than a product of two matrices. `why`: the end of a sentence."""

    why: str
    harmless: Callable[[Any], bool] = lambda value: not value


NOT_LOW_RANK = "which is more than the product of two matrices"
TRAINED = "whose weights are the adapter's own: merge it into the model instead"
CHANGED_BASE = (
    "which changes the model's own weights: save it with PEFT's path_initial_model_for_weight_conversion, which makes "
    "a LoRA of it"
)
INITIALISATIONS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")  # they leave the model's weights as they are
REFUSED = {
    "use_dora": Refused(f"(DoRA), {NOT_LOW_RANK}"),
    "modules_to_save": Refused(TRAINED),
    "trainable_token_indices": Refused(TRAINED),
    "bias": Refused(TRAINED, lambda value: value in (None, "none")),
    "lora_bias": Refused(NOT_LOW_RANK),
    "layer_replication": Refused("which repeats layers of the model"),
    "alora_invocation_tokens": Refused("(aLoRA), which begins in the middle of a prompt"),
    "target_parameters": Refused("(LoRA on parameters that are no layers)"),
    "use_qalora": Refused(NOT_LOW_RANK),
    "use_bdlora": Refused(NOT_LOW_RANK),
    "arrow_config": Refused("which mixes several adapters"),
    "monteclora_config": Refused(NOT_LOW_RANK),
    "kasa_config": Refused(CHANGED_BASE),
    "init_lora_weights": Refused(
        CHANGED_BASE, lambda value: not isinstance(value, str) or value.lower() in INITIALISATIONS
    ),
}
# They matter to training, or are followed here
HARMLESS = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),  # the tensors tell
        *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_version"),
        *("lora_dropout", "fan_in_fan_out", "eva_config", "corda_config", "lora_ga_config", "loftq_config"),
        *("velora_config", "megatron_config", "megatron_core", "qalora_group_size", "ensure_weight_tying"),
        *("runtime_config", "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr"),  # the last three are ms-swift's
    }
)


def read(folder: Path) -> Adapter:
    """The adapter. Raises AdapterError with a sentence that names the setting or tensor that is not supported."""
    config = adapter_kinds.read_config(folder)
    refuse_settings(folder / adapter_kinds.CONFIG, config)
    file = folder / adapter_kinds.WEIGHTS["peft"]
    layers = {}
    for name, parts in _parts(file).items():
        if "lora_embedding_A" in parts and "lora_embedding_B" in parts:
            a, b = parts["lora_embedding_B"].T, parts["lora_embedding_A"].T
        elif "lora_A.weight" in parts and "lora_B.weight" in parts:
            a, b = parts["lora_A.weight"], parts["lora_B.weight"]
        else:
            raise AdapterError(f"{file} has only one of the two parts of {name}, or the model's own weight without.")
        rank, scale = _rank_and_scale(folder, config, name)
        if b.shape[-1:] != (rank,):
            raise AdapterError(f"{file}: {name} has the rank {b.shape[-1]}, and {rank} by {adapter_kinds.CONFIG}.")
        layers[name] = checked(file, name, LowRank(a, b, scale))
    if not layers:
        raise AdapterError(f"{file} has no tensors of a LoRA.")
    return Adapter(folder, "peft", layers)


def refuse_settings(file: Path, config: Mapping[str, Any]) -> None:
    """Raises AdapterError for a setting that makes the adapter something else than a LoRA, or is not known."""
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{file} is of the kind {config.get('peft_type')!r}; supported is LORA.")
    for key, value in config.items():
        refused = REFUSED.get(key)
        if refused is not None and not refused.harmless(value):
            raise AdapterError(f"{file} has {key} = {value!r}, {refused.why}.")
        if refused is None and key not in HARMLESS and value:
            raise AdapterError(
                f"{file} has {key} = {value!r}, which is not known here; remove it if it does not change the answers."
            )


def _parts(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """The tensors by layer and part, as float32."""
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    tensors = AdapterTensors(file)
    for name in tensors:
        part = next((part for part in (*PARTS, OF_THE_MODEL) if name.endswith(f".{part}")), None)
        if part is None or not name.startswith(PREFIX):
            raise AdapterError(f"{file}: tensor {name} is not part of a LoRA, and the model would lack it.")
        layer = name.removeprefix(PREFIX).removesuffix(f".{part}")
        if part == OF_THE_MODEL:
            found[layer]  # without the other parts, it is refused
        else:
            found[layer][part] = tensors.numbers(name)
    return found


def _rank_and_scale(folder: Path, config: Mapping[str, Any], layer: str) -> tuple[int, float]:
    file = folder / adapter_kinds.CONFIG
    rank = _of_layer(file, config, "rank_pattern", layer, config.get("r"))
    alpha = _of_layer(file, config, "alpha_pattern", layer, config.get("lora_alpha"))
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterError(f"{file}: the rank of {layer} is {rank!r}; supported is a whole number above 0.")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise AdapterError(f"{file}: the alpha of {layer} is {alpha!r}; supported is a number.")
    return rank, alpha / (sqrt(rank) if config.get("use_rslora") else rank)


def _of_layer(file: Path, config: Mapping[str, Any], key: str, layer: str, default: Any) -> Any:
    """The value of the first pattern that fits the layer's name, or the default."""
    patterns = config.get(key) or {}
    try:
        return next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer)), default)
    except (re.error, AttributeError):
        raise AdapterError(f"{file}: {key} is not an object whose keys are regular expressions.") from None
