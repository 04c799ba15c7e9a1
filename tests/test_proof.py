"""What counts as the same model: the numbers, and the table they are held against."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from nitro.convert import comparison
from nitro.convert.checkpoint import FILE_TYPES, FTYPES
from nitro.convert.comparison import COARSE, LIMITS, SAME, Cosines, LogitScores

IDS = [0, 1, 2, 0]


def scores(**changes: float) -> LogitScores:
    whole = {"positions": 100, "mean_kl": 0.0, "p99_kl": 0.0, "top1": 1.0, "clear_positions": 50}
    return LogitScores(**{**whole, "reference_perplexity": 10.0, "perplexity": 10.0, **changes})


def rows(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_equal_logits() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = comparison.compare(iter([(IDS, logits, logits + 5)]))
    assert found.mean_kl < 1e-10 and found.p99_kl < 1e-10 and found.top1 == 1
    assert found.perplexity == pytest.approx(found.reference_perplexity)


def test_the_divergence_of_two_coins() -> None:
    even, biased = rows(*np.log([[0.5, 0.5]] * 2)), rows(*np.log([[0.8, 0.2]] * 2))
    found = comparison.compare(iter([([0, 1], even, biased)]))
    assert found.mean_kl == pytest.approx(0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2), rel=1e-5)


def test_only_clear_positions_count_for_the_best_token() -> None:
    reference = rows([3, 0, 0], [0.5, 0, 0], [0, 4, 0], [5, 0, 0])
    model = rows([3, 0, 0], [0, 0.5, 0], [4, 0, 0], [5, 0, 0])
    found = comparison.compare(iter([(IDS, reference, model)]))
    assert (found.clear_positions, found.top1) == (3, pytest.approx(2 / 3))


def test_perplexity_is_that_of_the_following_token() -> None:
    certain = rows([0, 90, 0], [0, 0, 90], [90, 0, 0], [0, 0, 0])
    found = comparison.compare(iter([(IDS, certain, rows(*[[0, 0, 0]] * 4))]))
    assert found.reference_perplexity == pytest.approx(1)
    assert found.perplexity == pytest.approx(3)


def test_rows_for_tokens_that_there_are_not_are_left_out() -> None:
    logits = rows(*[[1, 2, 3]] * 4)
    wide = np.hstack([logits, np.full((4, 2), 99, np.float32)])
    assert comparison.compare(iter([(IDS, logits, wide)])).mean_kl < 1e-10


@pytest.mark.parametrize("limit", [SAME, COARSE, *LIMITS.values()])
def test_each_limit_can_fail(limit: comparison.ProofLimits) -> None:
    assert comparison.failures(scores(mean_kl=limit.mean, p99_kl=limit.tail, top1=limit.top1), limit) == []
    for changes, says in [
        ({"mean_kl": limit.mean * 1.01}, "mean KL"),
        ({"p99_kl": limit.tail * 1.01}, "99th percentile"),
        ({"top1": limit.top1 - 0.01}, "best token"),
        ({"perplexity": 10.1 * limit.perplexity}, "perplexity"),
        ({"mean_kl": float("nan")}, "mean KL"),
        ({"perplexity": float("nan")}, "perplexity"),
    ]:
        assert [line for line in comparison.failures(scores(**changes), limit) if says in line]


@pytest.mark.parametrize("limit", [SAME, COARSE, *LIMITS.values()])
def test_each_limit_of_embeddings_can_fail(limit: comparison.ProofLimits) -> None:
    assert comparison.failures(Cosines(6, 60, 1 - 0.9 * limit.embedding, 1.0), limit) == []
    for least in (1 - 1.1 * limit.embedding, float("nan")):
        assert "an embedding's cosine" in comparison.failures(Cosines(6, 60, least, 1.0), limit)[0]


def test_embeddings_are_means_of_states() -> None:
    states = rows([1, 0], [0, 1])
    found = comparison.compare_states(iter([([0, 1], states, states[::-1]), ([0, 1], states, rows([1, 0], [1, 0]))]))
    assert (found.texts, found.positions) == (2, 4)
    assert found.lowest == pytest.approx(0.5**0.5) and found.mean == pytest.approx((1 + 0.5**0.5) / 2)


def test_what_word_piece_cuts_otherwise_on_llama_cpp() -> None:
    strings = ["naïve café", "राजा", "가나다", "plain"]
    assert comparison.unexpected(strings, encoder=True) == ["naïve café", "plain"]
    assert comparison.unexpected(strings, encoder=False) == strings


def test_few_clear_positions_tell_nothing() -> None:
    assert comparison.failures(scores(top1=0.5, clear_positions=3), SAME) == []


@pytest.mark.parametrize(
    ("reference", "model", "limit"),
    [
        ("F32", "F32", LIMITS["F32"]),
        ("F32", "Q8_0", LIMITS["Q8_0"]),
        ("BF16", "8bit", LIMITS["8bit"]),
        ("F32", "Q4_K", LIMITS["Q4_K"]),
        ("BF16", "F32", LIMITS["BF16"]),
        ("F32", "IQ1_S", COARSE),
        ("Q4_1", "4bit", SAME),
        ("Q8_0", "8bit", SAME),
        ("4bit", "F16", SAME),
        ("Q4_1", "Q4_1", SAME),
        ("Q4_K", "F32", SAME),
        ("Q4_K", "4bit", LIMITS["4bit"]),
        (
            "Q6_K",
            "8bit",
            replace(SAME, matrix=LIMITS["8bit"].matrix),
        ),  # quantised again; and llama.cpp rounds what it multiplies with the reference
    ],
)
def test_which_limits_hold(reference: str, model: str, limit: comparison.ProofLimits) -> None:
    assert comparison.limits(reference, model) == limit


def test_the_table_gets_looser_with_fewer_bits() -> None:
    order = [LIMITS[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K")] + [COARSE]
    for tight, loose in pairwise(order):
        assert (
            tight.matrix < loose.matrix
            and tight.mean < loose.mean
            and tight.tail < loose.tail
            and tight.perplexity < loose.perplexity
        )


def test_the_types_are_llama_cpp_s() -> None:
    import llama_cpp.llama_cpp as lib

    names = {"F32": "LLAMA_FTYPE_ALL_F32"}
    for name, number in FTYPES.items():
        known = getattr(lib, names.get(name, f"LLAMA_FTYPE_MOSTLY_{name}"), None)
        assert known in (None, number), name


def test_every_type_of_three_bits_and_more_has_limits() -> None:
    few = {name for name in FILE_TYPES.values() if name not in LIMITS}
    assert {name[:3] for name in few} == {"Q2_", "IQ2", "IQ1", "TQ1", "TQ2"}


def test_differing_strings() -> None:
    assert comparison.differing(["a", "b"], [[1], [2]], [[1], [2, 3]]) == ["b"]


def test_vocabularies() -> None:
    words = ["<s>", "Ġthe", "▁▁", "x"]
    assert comparison.vocabularies(words, words) == (4, [])
    assert comparison.vocabularies(words, ["<s>", "Ġthe", "  ", "y"]) == (4, [3])
    assert comparison.vocabularies(words, ["Ġthe", "<s>", "▁▁", "x"]) == (4, [0, 1])
    assert comparison.vocabularies(words, words[:3]) == (4, [3]), "one that is missing"


def test_ids_without_a_token_are_none_of_the_vocabulary() -> None:
    assert comparison.vocabularies(["a", None, "b"], ["a", "[PAD1]", "b", "[PAD3]"]) == (2, [])
    assert comparison.vocabularies(["a", None], ["a", "[PAD2]"]) == (2, [1]), "the name of another's"


def test_the_file_of_a_proof_keeps_its_keys() -> None:
    assert msgspec.to_builtins(Cosines(1, 2, lowest=0.5, mean=0.75)) == {
        "texts": 1,
        "positions": 2,
        "least": 0.5,
        "mean": 0.75,
    }
