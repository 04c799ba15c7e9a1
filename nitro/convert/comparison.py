"""The results of comparing two models, and the table of limits that says whether they are the same model. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from unicodedata import category, name, normalize

import numpy as np
from msgspec import Struct, field

CLEAR_MARGIN = 1.0  # a position is clear, and counts for top-1, where the reference's two best logits differ by more
MIN_CLEAR_POSITIONS = 20  # fewer prove nothing

Logits = np.ndarray  # float32 [positions, vocabulary]
Vocabulary = Sequence[str | None]  # the tokens' texts by id


@dataclass(frozen=True, slots=True)
class ProofLimits:
    """What a proof allows. `mean`, `tail`: KL divergence in nats, its mean and 99th percentile. `top1`: the smallest
    share of clear positions whose best token is the same. `perplexity`: as a multiple of the reference's. `matrix`:
    relative error of a matrix. `embedding`: of a model for embeddings, the distance of their cosine from 1."""

    mean: float
    tail: float
    top1: float
    perplexity: float
    matrix: float
    embedding: float


# The weights are the same numbers, and only the kernels differ: a quantised GGUF and its MLX twin. llama.cpp rounds
# what it multiplies with quantised weights to 8 bits, which makes the 0.003 that is measured there.
SAME = ProofLimits(mean=0.01, tail=0.1, top1=0.99, perplexity=1.03, matrix=5e-3, embedding=2e-3)

# A GGUF and an MLX folder of its very blocks, both computed in float32: measured below 1e-5.
SAME_BLOCKS = ProofLimits(mean=1e-3, tail=1e-2, top1=0.995, perplexity=1.005, matrix=1e-5, embedding=1e-4)

# By the type of the converted model's weights. Measured as mean KL of SmolLM2-135M and Gemma-3-270M, which have the
# noise of small models: at 8 bits 0.004, 6 bits 0.04, 5 bits 0.11, Q4_0 0.36, MLX's 4 bits 0.51 and 0.43, Q3_K 0.28.
# Matrices: 0.007, 0.026, 0.054, 0.1, 0.16. The faults that must fail are in tests/test_matrices.py, test_verify.py,
# test_proof.py.
EXACT = ProofLimits(mean=1e-5, tail=1e-4, top1=1.0, perplexity=1.001, matrix=1e-5, embedding=1e-5)
EIGHT_BITS = ProofLimits(mean=5e-3, tail=0.05, top1=0.99, perplexity=1.03, matrix=0.015, embedding=2e-3)
SIX_BITS = ProofLimits(mean=0.06, tail=0.5, top1=0.97, perplexity=1.1, matrix=0.06, embedding=5e-3)
FIVE_BITS = ProofLimits(mean=0.17, tail=1.3, top1=0.95, perplexity=1.2, matrix=0.12, embedding=0.01)
FOUR_BITS = ProofLimits(mean=0.5, tail=3.0, top1=0.8, perplexity=1.5, matrix=0.25, embedding=0.08)
THREE_BITS = ProofLimits(mean=1.5, tail=8.0, top1=0.6, perplexity=3.0, matrix=0.5, embedding=0.15)
# two bits and fewer: little is left to compare
COARSE = ProofLimits(mean=3.0, tail=15.0, top1=0.4, perplexity=12.0, matrix=0.9, embedding=0.3)
LIMITS = {
    "F64": EXACT,
    "F32": EXACT,
    "F16": ProofLimits(mean=1e-3, tail=1e-2, top1=0.995, perplexity=1.005, matrix=1e-3, embedding=1e-4),
    "BF16": ProofLimits(mean=2e-3, tail=2e-2, top1=0.99, perplexity=1.01, matrix=4e-3, embedding=1e-3),
    **dict.fromkeys(("Q8_0", "8bit"), EIGHT_BITS),
    **dict.fromkeys(("Q6_K", "6bit", "MXFP8"), SIX_BITS),  # MXFP8: three bits of fraction, as many as six bits have
    **dict.fromkeys(("Q5_0", "Q5_1", "Q5_K", "5bit"), FIVE_BITS),
    **dict.fromkeys(("Q4_0", "Q4_1", "Q4_K", "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4"), FOUR_BITS),
    "4bit": ProofLimits(mean=0.6, tail=4.0, top1=0.8, perplexity=1.6, matrix=0.25, embedding=0.08),
    **dict.fromkeys(("Q3_K", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "3bit"), THREE_BITS),
}
UNQUANTIZED = ("F32", "F16", "BF16", "F64")
MLX_TWINS = {"Q4_0": "4bit", "Q4_1": "4bit", "Q8_0": "8bit"}  # MLX holds the same numbers


class LogitScores(Struct):
    """The distance of a model's logits from the reference's, over all positions of the texts."""

    positions: int
    mean_kl: float
    p99_kl: float
    top1: float  # share of the clear positions; 1.0 where there are none
    clear_positions: int
    reference_perplexity: float
    perplexity: float


class Cosines(Struct):
    """The cosines of embeddings of the texts with the reference's; an embedding is the mean of a text's last states."""

    texts: int
    positions: int
    lowest: float = field(name="least")
    mean: float


class Proof(Struct):
    """The proof that is written beside a model. `fingerprint` is that of its files, so that it is not shown for
    others."""

    passed: bool
    failures: list[str]
    reference: str
    reference_type: str
    type: str
    token_ids: str  # "200 of 200"
    vocabulary: str  # "49152 of 49152"
    chat_template: str  # "equal", "none", or what differs
    settings: int  # hyperparameters that were compared; 0 where the architecture is not known here
    matrices: int  # matrices that were compared, likewise
    scores: LogitScores | Cosines
    limits: dict[str, float]
    fingerprint: str
    versions: dict[str, str]


def limits(reference: str, model: str) -> ProofLimits:
    """The limits for a pair of models, by the types of their weights. A type that holds another exactly is the same."""
    if reference not in UNQUANTIZED and (
        model in UNQUANTIZED or model == reference or _mlx_twin(reference) == _mlx_twin(model)
    ):
        return SAME
    of_model = LIMITS.get(model, COARSE)
    if reference in ("F16", "BF16"):
        of_reference = LIMITS[reference]
    else:
        of_reference = of_model if reference in UNQUANTIZED else SAME
    return ProofLimits(
        mean=max(of_model.mean, of_reference.mean),
        tail=max(of_model.tail, of_reference.tail),
        top1=min(of_model.top1, of_reference.top1),
        perplexity=max(of_model.perplexity, of_reference.perplexity),
        matrix=max(of_model.matrix, of_reference.matrix),
        embedding=max(of_model.embedding, of_reference.embedding),
    )


def compare(pairs: Iterator[tuple[list[int], Logits, Logits]]) -> LogitScores:
    """`pairs`: for each text its tokens, and the logits of the reference and of the model after each of them."""
    divergences, same, losses = [], [], []
    for ids, reference, model in pairs:
        width = min(reference.shape[1], model.shape[1])  # one may have rows for tokens that do not exist
        p = _log_softmax(reference[:, :width])
        q = _log_softmax(model[:, :width])
        divergences.append(np.sum(np.exp(p) * (p - q), axis=1))
        best = np.partition(p, -2, axis=1)[:, -2:]
        clear = best[:, 1] - best[:, 0] > CLEAR_MARGIN
        same.append((p.argmax(axis=1) == q.argmax(axis=1))[clear])
        steps = np.arange(len(ids) - 1)
        following = np.array(ids[1:], int)
        losses.append(np.stack([-p[steps, following], -q[steps, following]]))
    kl = np.concatenate(divergences)
    agrees = np.concatenate(same)
    loss = np.concatenate(losses, axis=1).mean(axis=1)
    return LogitScores(
        positions=len(kl),
        mean_kl=_number(kl.mean()),
        p99_kl=_number(np.percentile(kl, 99)),
        top1=_number(agrees.mean()) if len(agrees) else 1.0,
        clear_positions=len(agrees),
        reference_perplexity=_number(np.exp(loss[0])),
        perplexity=_number(np.exp(loss[1])),
    )


def compare_states(pairs: Iterator[tuple[list[int], Logits, Logits]]) -> Cosines:
    """As `compare`, for embeddings: in place of logits the last layer's states, [tokens, width]."""
    cosines = []
    positions = 0
    for _, reference, model in pairs:
        a, b = (states.astype(np.float64).mean(axis=0) for states in (reference, model))
        cosines.append(_number(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))))
        positions += len(reference)
    return Cosines(len(cosines), positions, lowest=_number(np.min(cosines)), mean=_number(np.mean(cosines)))


def failures(scores: LogitScores | Cosines, limit: ProofLimits) -> list[str]:
    """One line for each limit that is exceeded. NaN exceeds all."""
    if isinstance(scores, Cosines):
        within = 1 - scores.lowest <= limit.embedding
        return [] if within else [f"an embedding's cosine {scores.lowest:.5f} is below {1 - limit.embedding:.5f}"]
    ratio = scores.perplexity / scores.reference_perplexity if scores.reference_perplexity else float("inf")
    found = []
    if not scores.mean_kl <= limit.mean:
        found.append(f"mean KL divergence {scores.mean_kl:.2g} is above {limit.mean:.2g}")
    if not scores.p99_kl <= limit.tail:
        found.append(f"99th percentile of KL divergence {scores.p99_kl:.2g} is above {limit.tail:.2g}")
    if scores.clear_positions >= MIN_CLEAR_POSITIONS and not scores.top1 >= limit.top1:
        found.append(
            f"the best token is the same at {scores.top1:.1%} of the clear positions, less than {limit.top1:.1%}"
        )
    if not ratio <= limit.perplexity:
        found.append(f"perplexity is {ratio:.3f} times the reference's, more than {limit.perplexity:.3f}")
    return found


def differing(strings: list[str], reference: list[list[int]], model: list[list[int]]) -> list[str]:
    """The strings whose token ids differ."""
    return [text for text, one, other in zip(strings, reference, model, strict=True) if one != other]


def unexpected(strings: list[str], encoder: bool) -> list[str]:
    """Leave out the strings that llama.cpp's WordPiece splits differently for every encoder: it drops the vowel signs
    of Indian scripts (Mc), and splits Hangul into letters."""
    excuses = (
        any(category(char) == "Mc" or "HANGUL" in name(char, "") for char in normalize("NFD", s)) for s in strings
    )
    return [string for string, excused in zip(strings, excuses, strict=True) if not (encoder and excused)]


def vocabularies(reference: Vocabulary, model: Vocabulary) -> tuple[int, list[int]]:
    """How many ids have a token in either vocabulary, and the ids at which the two differ.

    An id that only pads the vocabulary does not count: it has no token, or one that a converter made up. A space may be
    written as itself or as SentencePiece's "▁".
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


def _mlx_twin(type: str) -> str:
    return MLX_TWINS.get(type, type)
