"""Opens a folder in mlx-lm's layout: config.json, *.safetensors, tokenizer.json, and what the Hub keeps beside them.

No code from the folder is ever run.
"""

import glob
import logging
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import Tokenizer

from nitro.checkpoints import files as texts
from nitro.checkpoints import fingerprint
from nitro.engines import sampling_defaults
from nitro.engines.backends.mlx import folder_weights
from nitro.engines.backends.mlx.model import MlxModel, Share, whole
from nitro.engines.backends.mlx.tokenizer import FastTokenizer, byte_level, converter
from nitro.engines.backends.mlx.towers import loading, readers
from nitro.engines.backends.mlx.towers.encoder import TowerEncoder
from nitro.engines.runner import LoadError
from nitro.errors import reason
from nitro.gguf.folder import SOURCE
from nitro.gguf.tokenizer import ends_among

log = logging.getLogger("nitro.mlx")

CONTEXT_KEYS = (
    *("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx"),
    "model_max_length",
)
LAYER_KEYS = (
    *("num_hidden_layers", "num_layers", "n_layers", "n_layer", "num_transformer_layers", "num_kv_reuse_layers"),
    *("depth", "encoder_layers"),
)
CONTEXT = 4096  # tokens, of a model that does not say for how many it was trained
# of generation_config.json
SAMPLING_KEYS = ("temperature", "top_k", "typical_p", "top_p", "min_p", "repetition_penalty")


def open_folder(folder: Path, sees: bool = True, share: Share = whole) -> MlxModel:
    """The model in it, its weights loaded. `sees`: with its tower, if it has one. Raises LoadError."""
    if glob.escape(str(folder)) != str(folder):
        raise LoadError(f"mlx-lm cannot load a folder with any of *?[ in its path: {folder}; rename it.")
    if _json(folder / "config.json").get("model_file") is not None:
        raise LoadError(f"{folder} needs its own Python code (model_file), which is never run.")
    words = _tokenizer(folder)
    try:
        _check_layers(folder)
        return _open(folder, words, sees, share)
    except LoadError:
        raise
    except Exception as error:  # a broken or unknown model shows as whatever is stumbled over
        raise LoadError(f"mlx-lm cannot load {folder}: {reason(error)}") from None


def _open(folder: Path, words: Tokenizer, sees: bool, share: Share) -> MlxModel:
    config = _json(folder / "config.json")
    sight, blind = loading.find(config, _weights(folder)) if sees else (None, "")
    try:
        network, config = folder_weights.load(folder, config, sight, share)
    except LoadError as error:
        if not blind:
            raise
        raise LoadError(f"{str(error).rstrip('.')}. Nor can it be opened with its tower: {blind}.") from None
    if blind:
        log.warning("%s takes text only: %s", folder, blind)
    text = {**config, **config.get("text_config", {})}
    about = _json(folder / "tokenizer_config.json")
    generation = _json(folder / "generation_config.json")
    templates = texts.chat_templates(folder, about)
    tokenizer = _fast_tokenizer(words, folder)
    return MlxModel(
        network=network,
        encoder=TowerEncoder(network, tokenizer, readers.of_folder(folder, network)) if sight else None,
        blind=blind,
        dtype=_dtype(config),
        tokenizer=tokenizer,
        trained_context=_context(text, network),
        eog=_ends(words, [config.get("eos_token_id"), text.get("eos_token_id")], texts.token(about.get("eos_token"))),
        template=templates.get(texts.DEFAULT),
        tool_template=templates.get(texts.TOOL_USE),
        bos=texts.token(about.get("bos_token")),
        eos=texts.token(about.get("eos_token")),
        fingerprint=fingerprint.of(sorted([folder / "config.json", *folder.glob("*.safetensors")])),
        adds_bos=texts.token(about.get("bos_token")) in words.encode("").tokens,
        sampling=sampling_defaults.from_file(folder, generation, {name: name for name in SAMPLING_KEYS}),
    )


def _check_layers(folder: Path) -> None:
    """Raise LoadError for more layers than arrays. mlx-lm makes as many layers as config.json says, before it looks at
    the weights, and each has some of its own."""
    config = _json(folder / "config.json")
    weights = len(_weights(folder))
    if not weights:
        return  # mlx-lm says so
    for settings in (config, *(config.get(f"{part}_config") or {} for part in ("text", "vision", "audio"))):
        for key in LAYER_KEYS:
            if isinstance(count := settings.get(key), int) and count > weights:
                raise LoadError(f"{folder}: config.json says {key} is {count}, and the weights are {weights} arrays.")


def _weights(folder: Path) -> set[str]:
    """Their names."""
    found = (mx.load(str(file)) for file in folder.glob("model*.safetensors"))
    return {name for arrays in found if isinstance(arrays, dict) for name in arrays}


def _dtype(config: dict[str, Any]) -> mx.Dtype | None:
    """What to compute in, where the weights leave it open: those that were a GGUF's have norms in float32, and with
    them all that is computed would be."""
    return getattr(mx, config["dtype"]) if config.get("converted_from") == SOURCE else None


def _context(config: dict[str, Any], network: Any) -> int:
    """What the configuration says, else what mlx-lm takes where it says nothing."""
    parts = (network, getattr(network, "language_model", None))
    args = [vars(part.args) for part in parts if part is not None and hasattr(part, "args")]
    for source in (config, *args):
        for key in CONTEXT_KEYS:
            if isinstance(length := source.get(key), int | float) and 0 < length < 2**31:
                return int(length)
    log.warning("the model does not say for how many tokens it was trained; --ctx is %d unless you set it", CONTEXT)
    return CONTEXT


def _tokenizer(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise LoadError(
            f"{folder} has no tokenizer.json, and MLX models need one here; "
            f"transformers.AutoTokenizer.from_pretrained(…).save_pretrained({str(folder)!r}) writes it."
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise LoadError(f"{file} cannot be read: {error}") from None


def _fast_tokenizer(words: Tokenizer, folder: Path) -> FastTokenizer:
    to_bytes = converter(words)
    if to_bytes is None:
        raise LoadError(f"{folder / 'tokenizer.json'} is neither a byte-level nor a SentencePiece tokenizer.")
    words.no_truncation()
    words.no_padding()
    added = words.get_added_tokens_decoder()
    hidden = frozenset(id for id, token in added.items() if token.special)
    # SentencePiece writes spaces as ▁ in added tokens, too; a byte-level vocabulary has those as they are
    literal = frozenset(added) - hidden if to_bytes is byte_level else frozenset()
    return FastTokenizer(words, to_bytes, hidden, literal)


def _ends(words: Tokenizer, ids: list[Any], eos: str) -> frozenset[int]:
    """The end-of-generation tokens: those that the configurations name, and those known by what they are called."""
    known = {id for entry in ids for id in (entry if isinstance(entry, list) else [entry])}
    known.add(words.token_to_id(eos))
    added = words.get_added_tokens_decoder()
    named = ends_among(((id, token.content) for id, token in added.items()), known)
    return named | frozenset(id for id in known if isinstance(id, int))


def _json(file: Path) -> dict[str, Any]:
    """An optional file's object. Raises LoadError where it is none."""
    try:
        return texts.read(file)
    except (OSError, ValueError) as error:
        raise LoadError(f"{file} cannot be read: {error}") from None
