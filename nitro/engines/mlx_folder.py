"""Opens a folder in mlx-lm's layout: config.json, *.safetensors, tokenizer.json, and what the Hub keeps beside them.

No code from the folder is ever run.
"""

import json
import math
from pathlib import Path
from typing import Any

from mlx_lm.utils import load_model
from tokenizers import Tokenizer

from nitro.engines import fingerprint
from nitro.engines.mlx_model import MlxModel, compute_type
from nitro.engines.runner import LoadError
from nitro.engines.tokenizer import FastTokenizer, converter
from nitro.gguf.tokenizer import ends_among

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
CONTEXT = 4096  # tokens, of a model that does not say for how many it was trained
SAMPLING_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # of generation_config.json
WHOLE = ("top_k",)


def open_folder(folder: Path) -> MlxModel:
    """Raises LoadError."""
    words = _tokenizer(folder)
    try:
        network, config = load_model(folder)
    except Exception as error:  # mlx-lm meets a broken or unknown model as whatever it stumbles over
        raise LoadError(f"mlx-lm cannot load {folder}: {error}") from None
    if (dtype := compute_type()) is not None:
        network.set_dtype(dtype)
    text = {**config, **config.get("text_config", {})}
    about, generation = _json(folder / "tokenizer_config.json"), _json(folder / "generation_config.json")
    return MlxModel(
        network=network,
        tokenizer=_fast_tokenizer(words, folder),
        vocabulary=text.get("vocab_size") or words.get_vocab_size(),
        trained_context=next((int(text[key]) for key in CONTEXT_KEYS if text.get(key)), CONTEXT),
        eog=_ends(words, [config.get("eos_token_id"), text.get("eos_token_id")], _text(about.get("eos_token"))),
        template=_template(folder, about),
        bos=_text(about.get("bos_token")),
        eos=_text(about.get("eos_token")),
        fingerprint=fingerprint.of(sorted([folder / "config.json", *folder.glob("*.safetensors")])),
        sampling=_sampling(generation),
    )


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
    silent = frozenset(id for id, token in added.items() if token.special)
    return FastTokenizer(words, to_bytes, silent, literal=frozenset(added) - silent)


def _ends(words: Tokenizer, ids: list[Any], eos: str) -> frozenset[int]:
    """The end-of-generation tokens: those that the configurations name, and those known by what they are called."""
    known = {id for entry in ids for id in (entry if isinstance(entry, list) else [entry])}
    known.add(words.token_to_id(eos))
    added = words.get_added_tokens_decoder()
    named = ends_among(((id, token.content) for id, token in added.items()), known)
    return named | frozenset(id for id in known if isinstance(id, int))


def _template(folder: Path, about: dict[str, Any]) -> str | None:
    """The chat template: in a file of its own, or in tokenizer_config.json, alone or as one of several."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = about.get("chat_template")
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _sampling(generation: dict[str, Any]) -> dict[str, float]:
    found = {name: generation.get(name) for name in SAMPLING_KEYS}
    numbers = {name: v for name, v in found.items() if isinstance(v, int | float) and math.isfinite(v)}
    return {name: int(value) if name in WHOLE else float(value) for name, value in numbers.items()}


def _text(token: Any) -> str:
    """A token of tokenizer_config.json: a string, an object that holds it, or null."""
    return str((token.get("content") if isinstance(token, dict) else token) or "")


def _json(file: Path) -> dict[str, Any]:
    """An optional file's object. Raises LoadError where it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise LoadError(f"{file} cannot be read: {error}") from None
    return content if isinstance(content, dict) else {}
