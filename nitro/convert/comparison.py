"""What was found when two models were compared, and the table that says whether they are the same model. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from unicodedata import category, name, normalize

import numpy as np
from msgspec import Struct

CLEAR = 1.0  # a position counts for top-1 where the reference's two best logits are further apart
LEAST_CLEAR = 20  # fewer such positions tell nothing

Logits = np.ndarray  # float32 [positions, vocabulary]
Vocabulary = Sequence[str | None]  # by id, as the tokenizer writes them


@dataclass(frozen=True, slots=True)
class Limits:
    """`mean`, `tail`: KL divergence in nats, its mean and 99th percentile. `top1`: the least share of clear positions
    whose best token is the same. `perplexity`: how many times the reference's. `matrix`: how far one may be from the
    reference's, relative to that. `embedding`: of a model that makes those, how far their cosine may be from 1."""

    mean: float
    tail: float
    top1: float
    perplexity: float
    matrix: float
    embedding: float


# The weights are the same numbers, and only the kernels differ: a quantised GGUF beside its MLX twin. llama.cpp rounds
# what it multiplies with quantised weights to 8 bits, which is the 0.003 that is measured there.
SAME = Limits(0.01, 0.1, 0.99, 1.03, 5e-3, 2e-3)

FOUR_BITS = ("Q4_0", "Q4_1", "Q4_K", "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4")
THREE_BITS = ("Q3_K", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "3bit")

# By what the converted model's weights are. Measured, as mean KL: SmolLM2-135M and Gemma-3-270M, whose noise is that of
# small models, at 8 bits 0.004, 6 bits 0.04, 5 bits 0.11, Q4_0 0.36, MLX's 4 bits 0.51 and 0.43, Q3_K 0.28. Matrices:
# 0.007, 0.026, 0.054, 0.1, 0.16. What must fail is planted in tests/test_matrices.py, test_verify.py, test_proof.py.
LIMITS = {
    "F64": Limits(1e-5, 1e-4, 1.0, 1.001, 1e-5, 1e-5),
    "F32": Limits(1e-5, 1e-4, 1.0, 1.001, 1e-5, 1e-5),
    "F16": Limits(1e-3, 1e-2, 0.995, 1.005, 1e-3, 1e-4),
    "BF16": Limits(2e-3, 2e-2, 0.99, 1.01, 4e-3, 1e-3),
    **dict.fromkeys(("Q8_0", "8bit"), Limits(5e-3, 0.05, 0.99, 1.03, 0.015, 2e-3)),
    **dict.fromkeys(("Q6_K", "6bit"), Limits(0.06, 0.5, 0.97, 1.1, 0.06, 5e-3)),
    **dict.fromkeys(("Q5_0", "Q5_1", "Q5_K", "5bit"), Limits(0.17, 1.3, 0.95, 1.2, 0.12, 0.01)),
    **dict.fromkeys(FOUR_BITS, Limits(0.5, 3.0, 0.8, 1.5, 0.25, 0.08)),
    "4bit": Limits(0.6, 4.0, 0.8, 1.6, 0.25, 0.08),
    **dict.fromkeys(THREE_BITS, Limits(1.5, 8.0, 0.6, 3.0, 0.5, 0.15)),
}
COARSE = Limits(3.0, 15.0, 0.4, 12.0, 0.9, 0.3)  # two bits and fewer: little is left that could be asked
HALF = ("F32", "F16", "BF16", "F64")
PACKED = {"Q4_0": "4bit", "Q4_1": "4bit", "Q8_0": "8bit"}  # MLX holds the same numbers


class Scores(Struct):
    """How far a model's logits are from the reference's, over all positions of the texts."""

    positions: int
    mean_kl: float
    p99_kl: float
    top1: float  # share of the clear positions; 1.0 where there are none
    clear_positions: int
    reference_perplexity: float
    perplexity: float


class Cosines(Struct):
    """Of the texts' embeddings and the reference's; a text's is the mean of its tokens' last states."""

    texts: int
    positions: int
    least: float
    mean: float


class Proof(Struct):
    """What is written beside a model. `fingerprint` is that of its files, so that a proof of others is not shown."""

    passed: bool
    failures: list[str]
    reference: str
    reference_type: str
    type: str
    token_ids: str  # "200 of 200"
    vocabulary: str  # "49152 of 49152"
    chat_template: str  # "equal", "none", or what differs
    settings: int  # how many were compared; 0 where the architecture is not known here
    matrices: int  # likewise
    scores: Scores | Cosines
    limits: dict[str, float]
    fingerprint: str
    versions: dict[str, str]


def limits(reference: str, model: str) -> Limits:
    """`reference`, `model`: what most of their weights are. Weights that were quantised before are the same numbers in
    a type that holds them."""
    if reference not in HALF and (model in HALF or model == reference or _packed(reference) == _packed(model)):
        return SAME
    own = LIMITS.get(model, COARSE)
    theirs = LIMITS[reference] if reference in ("F16", "BF16") else own if reference in HALF else SAME
    return Limits(
        max(own.mean, theirs.mean),
        max(own.tail, theirs.tail),
        min(own.top1, theirs.top1),
        max(own.perplexity, theirs.perplexity),
        max(own.matrix, theirs.matrix),
        max(own.embedding, theirs.embedding),
    )


def compare(pairs: Iterator[tuple[list[int], Logits, Logits]]) -> Scores:
    """`pairs`: of each text its tokens, and the logits of the reference and of the model after each of them."""
    divergences, same, losses = [], [], []
    for ids, reference, model in pairs:
        width = min(reference.shape[1], model.shape[1])  # one may have rows for tokens that there are not
        p, q = _log_softmax(reference[:, :width]), _log_softmax(model[:, :width])
        divergences.append(np.sum(np.exp(p) * (p - q), axis=1))
        best = np.partition(p, -2, axis=1)[:, -2:]
        clear = best[:, 1] - best[:, 0] > CLEAR
        same.append((p.argmax(axis=1) == q.argmax(axis=1))[clear])
        steps, following = np.arange(len(ids) - 1), np.array(ids[1:], int)
        losses.append(np.stack([-p[steps, following], -q[steps, following]]))
    kl, agrees, loss = np.concatenate(divergences), np.concatenate(same), np.concatenate(losses, axis=1).mean(axis=1)
    return Scores(
        positions=len(kl),
        mean_kl=_number(kl.mean()),
        p99_kl=_number(np.percentile(kl, 99)),
        top1=_number(agrees.mean()) if len(agrees) else 1.0,
        clear_positions=len(agrees),
        reference_perplexity=_number(np.exp(loss[0])),
        perplexity=_number(np.exp(loss[1])),
    )


def compare_states(pairs: Iterator[tuple[list[int], Logits, Logits]]) -> Cosines:
    """`pairs`: as `compare`'s, with the last layer's states, [tokens, width]."""
    cosines, positions = [], 0
    for _, reference, model in pairs:
        one, other = (states.astype(np.float64).mean(axis=0) for states in (reference, model))
        cosines.append(_number(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))
        positions += len(reference)
    return Cosines(len(cosines), positions, _number(np.min(cosines)), _number(np.mean(cosines)))


def failures(scores: Scores | Cosines, limit: Limits) -> list[str]:
    """One line for each limit that is not kept; a value that is no number keeps none."""
    if isinstance(scores, Cosines):
        kept = 1 - scores.least <= limit.embedding
        return [] if kept else [f"an embedding's cosine {scores.least:.5f} is below {1 - limit.embedding:.5f}"]
    ratio = scores.perplexity / scores.reference_perplexity if scores.reference_perplexity else float("inf")
    found = []
    if not scores.mean_kl <= limit.mean:
        found.append(f"mean KL divergence {scores.mean_kl:.2g} is above {limit.mean:.2g}")
    if not scores.p99_kl <= limit.tail:
        found.append(f"99th percentile of KL divergence {scores.p99_kl:.2g} is above {limit.tail:.2g}")
    if scores.clear_positions >= LEAST_CLEAR and not scores.top1 >= limit.top1:
        found.append(f"the best token agrees in {scores.top1:.1%} of the clear positions, less than {limit.top1:.1%}")
    if not ratio <= limit.perplexity:
        found.append(f"perplexity is {ratio:.3f} times the reference's, more than {limit.perplexity:.3f}")
    return found


def differing(strings: list[str], reference: list[list[int]], model: list[list[int]]) -> list[str]:
    """The strings whose token ids differ."""
    return [text for text, one, other in zip(strings, reference, model, strict=True) if one != other]


def unexpected(strings: list[str], encoder: bool) -> list[str]:
    """Without those that llama.cpp's WordPiece cuts otherwise, whatever the model: it drops the vowel signs of Indian
    scripts (Mc), and Hangul's letters, which are no marks."""
    known = (any(category(char) == "Mc" or "HANGUL" in name(char, "") for char in normalize("NFD", s)) for s in strings)
    return [string for string, excused in zip(strings, known, strict=True) if not (encoder and excused)]


def vocabularies(reference: Vocabulary, model: Vocabulary) -> tuple[int, list[int]]:
    """How many ids have a token in either, and those at which the two differ.

    An id that only fills up the vocabulary is none: it has no token, or one that a converter made up for it. A space is
    written as itself or as SentencePiece's, whichever a tokenizer takes.
    """
    pairs = enumerate(zip_longest(reference, model))
    texts = ((id, _token(id, one), _token(id, other)) for id, (one, other) in pairs)
    used = [(id, one == other) for id, one, other in texts if one or other]
    return len(used), [id for id, same in used if not same]


def _token(id: int, text: str | None) -> str:
    return "" if text is None or text == f"[PAD{id}]" else text.replace("▁", " ")


def _log_softmax(logits: Logits) -> np.ndarray:
    """float64 [positions, vocabulary]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _number(value: Any) -> float:
    return float(value)


def _packed(type: str) -> str:
    return PACKED.get(type, type)
