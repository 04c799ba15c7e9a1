"""Opens an encoder's folder: an embedding model, with what sentence-transformers keeps beside it, or a cross-encoder.

No code from the folder is ever run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from nitro.checkpoints import embedding_settings, files, fingerprint, sentence_files
from nitro.checkpoints.embedding_settings import EmbeddingSettings
from nitro.checkpoints.sentence_files import SentenceFiles
from nitro.engines.backends.mlx import weight_layout
from nitro.engines.backends.mlx.encoders import texts, weights
from nitro.engines.backends.mlx.encoders.decoder import Decoder
from nitro.engines.backends.mlx.encoders.heads import DenseLayer, ScoreHead
from nitro.engines.backends.mlx.encoders.network import Encoder
from nitro.engines.backends.mlx.encoders.texts import Around
from nitro.engines.backends.mlx.tokenizer import FastTokenizer
from nitro.engines.runner import LoadError
from nitro.errors import reason

CONTEXT = 2048  # tokens, of a model that does not say for how many it was trained, and has no positions to count


@dataclass(slots=True)
class EncoderModel:
    """An open encoder, its weights loaded."""

    network: Encoder | Decoder
    dense: nn.Sequential  # after the pooling
    head: ScoreHead | None  # of a cross-encoder
    sentence: SentenceFiles
    settings: EmbeddingSettings
    tokenizer: FastTokenizer
    around: Around
    width: int  # of the vectors
    longest: int  # tokens
    vocabulary: int
    layers: int
    uses_types: bool  # whether the tokens of a second text are told as such
    fingerprint: str


def open_encoder(folder: Path) -> EncoderModel:
    """Raises LoadError."""
    try:
        return _open(folder)
    except LoadError:
        raise
    except Exception as error:  # a broken model shows as whatever is stumbled over
        raise LoadError(f"MLX cannot open {folder}: {reason(error)}") from None


def _open(folder: Path) -> EncoderModel:
    config = files.read(folder / "config.json")
    sentence = sentence_files.read(folder)
    network, head = weights.load(folder, config)
    if head and weights.labels(config) != 1:
        raise LoadError(
            f"{folder} is a classifier with {weights.labels(config)} labels; of such models, those with one score "
            "pairs of texts."
        )
    words = texts.open_tokenizer(folder, sentence.lowercase)
    dense = dense_layers(folder, sentence)
    whole = nn.Sequential(network, dense, *([head] if head else []))
    weight_layout.arrange(whole, mx.float32)
    shape = network.shape
    return EncoderModel(
        network=network,
        dense=dense,
        head=head,
        sentence=sentence,
        settings=embedding_settings.read(folder),
        tokenizer=texts.fast_tokenizer(words),
        around=texts.around(words),
        width=sentence.dimensions or (dense.layers[-1].outputs if dense.layers else shape.width),
        longest=_longest(config, network),
        vocabulary=shape.vocabulary,
        layers=shape.layers,
        uses_types=shape.types > 1,
        fingerprint=fingerprint.of(sorted([folder / "config.json", *folder.glob("*.safetensors")])),
    )


def dense_layers(folder: Path, sentence: SentenceFiles) -> nn.Sequential:
    """Those behind the pooling. Raises LoadError."""
    return nn.Sequential(*(_dense(folder / layer.folder, layer.activation) for layer in sentence.dense))


def _dense(folder: Path, activation: str) -> DenseLayer:
    arrays = weights.read(folder)
    return DenseLayer(arrays["linear.weight"], arrays.get("linear.bias"), activation)


def _longest(config: dict[str, Any], network: Encoder) -> int:
    """For how many tokens it has positions. max_seq_length is not asked: that is where sentence-transformers cuts
    without a word."""
    shape = network.shape
    if shape.positions:
        return shape.positions - shape.first_position
    said = (config.get(key) for key in ("max_trained_positions", "max_position_embeddings", "n_positions"))
    return min((n for n in said if isinstance(n, int) and n > 0), default=CONTEXT)
