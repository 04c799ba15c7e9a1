"""What the files of sentence-transformers say beside a model: how its vectors are pooled, and what follows that.

    modules.json                        a list of {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    1_Pooling/config.json               {"pooling_mode_mean_tokens": true, …} or {"pooling_mode": "mean", …}
    2_Dense/config.json                 {"in_features", "out_features", "bias", "activation_function"}
    sentence_bert_config.json           {"max_seq_length": 256, "do_lower_case": false}
    config_sentence_transformers.json   {"truncate_dim": null, …}; its prompts are read by embedding_settings.py

Knows no library. What it does not know is refused by name: a module left out would give other vectors.
"""

from pathlib import Path
from typing import Any, Literal, get_args

from msgspec import Struct

from nitro.checkpoints import embedding_settings, files

Pooling = Literal["cls", "mean", "last", "max"]

MODULES = "modules.json"
# sentence-transformers' names, until version 5 with "pooling_mode_" before and "_tokens" or "_token" after them
MODES: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last", "max": "max"}
OLD_KEYS: dict[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh"}  # of a Dense module, by the last part of their names


class Dense(Struct, frozen=True):
    """A linear layer after the pooling: its folder's name, and what follows it."""

    folder: str
    activation: str  # a value of ACTIVATIONS


class SentenceFiles(Struct, frozen=True, kw_only=True):
    """How texts become vectors."""

    pooling: Pooling = "mean"  # sentence-transformers' default for a bare encoder
    dense: tuple[Dense, ...] = ()
    dimensions: int | None = None  # to which each vector is cut
    lowercase: bool = False  # whether texts are written in small letters first


def read(folder: Path) -> SentenceFiles:
    """Raises ValueError, a sentence without a full stop, for a module or a setting that is not known, and OSError."""
    modules = _modules(folder)
    about = files.read(folder / "config_sentence_transformers.json")
    pooling: Pooling = "mean"
    dense: list[Dense] = []
    for path, kind in modules:
        config = files.read(folder / path / "config.json") if path else {}
        if kind == "Pooling":
            pooling = _pooling(config, path)
            if config.get("include_prompt") is False and embedding_settings.read(folder).prefixes:
                raise ValueError(f"{path}/config.json pools without the tokens of the prompt (include_prompt)")
        elif kind == "Dense":
            dense.append(Dense(path, _activation(config, path)))
    limits = files.read(folder / "sentence_bert_config.json")
    return SentenceFiles(
        pooling=pooling,
        dense=tuple(dense),
        dimensions=_positive(about.get("truncate_dim")),
        lowercase=limits.get("do_lower_case") is True,
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Each module's folder and the last part of its type; none where there is no modules.json."""
    file = folder / MODULES
    if not file.is_file():
        return []
    found = []
    for entry in files.read_list(file):
        path, kind = (str(entry.get(key, "")) for key in ("path", "type"))
        kind = kind.rpartition(".")[2]
        if kind not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise ValueError(f"modules.json has a module of the type {kind}; supported are Pooling and Dense")
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError(f"modules.json names the folder {path!r}, which is not inside the model's")
        found.append((path, kind))
    if [kind for _, kind in found[:2]] != ["Transformer", "Pooling"]:
        raise ValueError("modules.json does not begin with a Transformer and a Pooling")
    return found


def _pooling(config: dict[str, Any], path: str) -> Pooling:
    said = config.get("pooling_mode")
    if said is None:
        modes = [mode for key, mode in OLD_KEYS.items() if config.get(key) is True] or ["mean"]
    else:
        modes = [str(mode) for mode in said] if isinstance(said, list) else str(said).split("+")
    if len(modes) != 1 or modes[0] not in MODES:
        shown = " and ".join(modes) or "nothing"
        raise ValueError(f"{path}/config.json pools by {shown}; supported is one of {', '.join(get_args(Pooling))}")
    return MODES[modes[0]]


def _activation(config: dict[str, Any], path: str) -> str:
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise ValueError(f"{path}/config.json has the activation {name}; supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None
