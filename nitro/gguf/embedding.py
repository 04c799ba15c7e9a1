"""Whether a GGUF holds an embedding model, and how it makes one vector of a text's tokens.

Such a file names its pooling, or its architecture has nothing but an encoder. Source: llama.cpp's convert_hf_to_gguf
(`_try_set_pooling_type`), llama-arch.cpp and llama-model.cpp.
"""

from dataclasses import dataclass
from typing import Literal

from nitro.gguf.header import Header

POOLING: dict[int, Literal["mean", "cls", "last"]] = {1: "mean", 2: "cls", 3: "last"}  # llama_pooling_type (llama.h)
# Architectures that have no head which predicts the next token.
ENCODERS = frozenset(
    {
        "bert",
        "eurobert",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
    }
)
# Those that see to both sides without saying so in the file.
BIDIRECTIONAL = ENCODERS | {"gemma-embedding"}


@dataclass(frozen=True, slots=True)
class EmbeddingKind:
    """`pooling`: of which tokens' vectors a text's is made. `causal`: whether a token sees only those before it."""

    pooling: Literal["mean", "cls", "last"]
    causal: bool


def kind_of(head: Header) -> EmbeddingKind | None:
    """None: it is no embedding model. An encoder that names no pooling has the mean of its tokens."""
    number = head.get("{arch}.pooling_type")
    pooling = POOLING.get(number) if isinstance(number, int) else None
    if pooling is None and head.architecture in ENCODERS and not number:
        pooling = "mean"
    if pooling is None:
        return None
    causal = head.get("{arch}.attention.causal", head.architecture not in BIDIRECTIONAL)
    return EmbeddingKind(pooling, causal is not False)
