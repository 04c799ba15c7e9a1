"""Opens a folder of an embedding model that mlx-lm knows as one that generates text (Qwen3-Embedding, say): one with
sentence-transformers' modules.json. No code from the folder is ever run."""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.utils import _get_classes

from nitro.checkpoints import architecture_faults, embedding_settings, files, fingerprint, sentence_files
from nitro.engines.backends.mlx import folder_weights, weight_layout
from nitro.engines.backends.mlx.encoders import texts, weights
from nitro.engines.backends.mlx.encoders.decoder import Decoder
from nitro.engines.backends.mlx.encoders.loader import EncoderModel, dense_layers
from nitro.engines.runner import LoadError
from nitro.errors import reason

# settings of config.json, with the values of what mlx-lm computes
CAUSAL: dict[str, Any] = {"use_bidirectional_attention": False, "is_causal": True}
CONTEXT = 2048  # tokens, of a model that does not say for how many it was trained


def open_decoder(folder: Path) -> EncoderModel:
    """Raises LoadError."""
    try:
        return _open(folder)
    except LoadError:
        raise
    except Exception as error:  # a broken or unknown model shows as whatever is stumbled over
        raise LoadError(f"MLX cannot open {folder}: {reason(error)}") from None


def _open(folder: Path) -> EncoderModel:
    config = files.read(folder / "config.json")
    text = {**config, **(config.get("text_config") or {})}
    for key, value in CAUSAL.items():
        if text.get(key, value) not in (value, None):
            raise LoadError(
                f"MLX cannot open {folder}: its tokens see those behind them ({key}), and mlx-lm's "
                f"{config.get('model_type')} is causal. Take its GGUF, on llama.cpp."
            )
    sentence = sentence_files.read(folder)
    network = _network(folder, config)
    weight_layout.arrange(network)
    decoder = Decoder(network)
    dense = dense_layers(folder, sentence)
    weight_layout.arrange(dense, mx.float32)
    words = texts.open_tokenizer(folder, sentence.lowercase)
    settings = embedding_settings.read(folder)
    return EncoderModel(
        network=decoder,
        dense=dense,
        head=None,
        sentence=sentence,
        settings=settings,
        tokenizer=texts.fast_tokenizer(words),
        around=texts.around(words),
        width=sentence.dimensions or (dense.layers[-1].outputs if dense.layers else decoder.width),
        longest=int(text.get("max_position_embeddings") or CONTEXT),
        vocabulary=int(text["vocab_size"]),
        layers=len(network.layers),
        uses_types=False,
        fingerprint=fingerprint.of(sorted([folder / "config.json", *folder.glob("*.safetensors")])),
    )


def _network(folder: Path, config: dict[str, Any]) -> nn.Module:
    """mlx-lm's. sentence-transformers saves a model without its head, and without the "model." before its names."""
    arrays = weights.read(folder)
    if config.get("quantization") or any(name.startswith("model.") for name in arrays):
        network, _ = folder_weights.load(folder, config)
        return network
    if problem := architecture_faults.problem(config):
        raise LoadError(f"MLX cannot open {folder}: {problem}.")
    if config.get("quantization_config"):
        raise LoadError(f"MLX cannot open {folder}: its weights are packed (quantization_config).")
    model, settings = _get_classes(config)  # private, but mlx-lm is pinned exactly
    headless = {**config, **architecture_faults.defaults(config), "tie_word_embeddings": True}
    network = model(settings.from_dict(headless))
    named = {f"model.{name}": array for name, array in arrays.items()}
    network.load_weights(list((network.sanitize(named) if hasattr(network, "sanitize") else named).items()))
    network.eval()
    return network
