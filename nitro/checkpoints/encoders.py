"""The model_types of encoders in transformers' layout that MLX opens: the keys of the table in
engines/backends/mlx/encoders/families.py, which a test compares, for those who may not import it."""

from collections.abc import Mapping
from typing import Any

CROSS_ENCODER = "ForSequenceClassification"  # the end of the name of its class

MODEL_TYPES = frozenset(
    {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "nomic_bert", "modernbert"}
)


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an encoder which is known here."""
    return config.get("model_type") in MODEL_TYPES


def is_cross_encoder(config: Mapping[str, Any]) -> bool:
    """Whether it is one with a head for texts or pairs of them: a classifier, or a reranker."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else ""
    return is_encoder(config) and str(first).endswith(CROSS_ENCODER)
