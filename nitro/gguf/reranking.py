"""Whether a GGUF holds a reranker, and whether llama.cpp scores right with it.

Some name their pooling (RANK), some do not: they are told by the tensors of their head. What llama.cpp would score
otherwise than the model's own code is refused by name. Source: llama.cpp's convert_hf_to_gguf, src/llama-graph.cpp
(build_pooling) and src/models/, as in llama-cpp-python 0.3.36.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nitro.gguf.header import Header

RANK = 4  # llama_pooling_type (llama.h)
DENSE, OUTPUT = "cls.weight", "cls.output.weight"
TYPES = "token_types.weight"
TEMPLATE = "tokenizer.chat_template.rerank"
CURE = "Serve the folder that it was made from: MLX scores right with it (--engine mlx)."


@dataclass(frozen=True, slots=True)
class RankKind:
    """`causal`: it reads the last token of a text that `template` writes, with {query} and {document}; else the first
    token, or all, of a pair."""

    causal: bool
    template: str = ""


def is_reranker(head: Header) -> bool:
    """Whether the file is that of a model that only says how well two texts go together."""
    return head.get("{arch}.pooling_type") == RANK or DENSE in head.tensors or OUTPUT in head.tensors


def kind_of(head: Header) -> RankKind:
    """Raises ValueError, a sentence, for a reranker with which llama.cpp does not score right, or is not known to."""
    check = _KINDS.get(head.architecture)
    if check is None:
        known = ", ".join(_KINDS)
        raise ValueError(
            f"{head.path} is a reranker of the architecture {head.architecture}, of which it is not known that "
            f"llama.cpp scores right; known are {known}. {CURE}"
        )
    return check(head)


def _bert(head: Header) -> RankKind:
    """RoBERTa's head alone is as in build_pooling: a dense layer, tanh, the output; and it has one type of tokens."""
    types = head.tensors.get(TYPES)
    if DENSE not in head.tensors and OUTPUT in head.tensors:
        raise ValueError(
            f"{head.path} is a BERT cross-encoder without its pooler (bert.pooler.dense), which llama.cpp's converter "
            f"leaves out: its scores would be wrong (llama.cpp PR #21729). {CURE}"
        )
    if types is not None and len(types.shape) > 1 and types.shape[0] > 1:
        raise ValueError(
            f"{head.path} is a cross-encoder that tells the tokens of the document from those of the query, and "
            f"llama.cpp does not: its scores would be wrong (llama.cpp PR #21729). {CURE}"
        )
    if types is None or DENSE not in head.tensors or OUTPUT not in head.tensors:
        raise ValueError(
            f"{head.path} is a cross-encoder whose head is not RoBERTa's, and llama.cpp computes that one: its scores "
            f"would be wrong. {CURE}"
        )
    return RankKind(causal=False)


def _qwen3(head: Header) -> RankKind:
    """Its head has the rows of "yes" and "no", in this order; llama.cpp makes shares of them."""
    template = head.get(TEMPLATE)
    if OUTPUT not in head.tensors or not isinstance(template, str) or not _is_usable(template):
        raise ValueError(
            f"{head.path} is a Qwen3 reranker without {OUTPUT} or {TEMPLATE}, which llama.cpp's converter writes: it "
            "cannot be told how it scores. Fetch a newer conversion."
        )
    return RankKind(causal=True, template=template)


def _is_usable(template: str) -> bool:
    return template.count("{query}") == 1 == template.count("{document}") and template.find("{query}") < template.find(
        "{document}"
    )


_KINDS: dict[str, Callable[[Header], RankKind]] = {"bert": _bert, "qwen3": _qwen3}
