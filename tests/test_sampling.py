"""Sampling on MLX: what can be drawn is what llama.cpp leaves, and what is drawn depends on seed and length alone."""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import llama_cpp.llama_cpp as lib
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nitro.engines.backends.llama import likely_tokens, sampler
from nitro.engines.backends.mlx.sampler import NONE, Bias, SamplerRow, adjust, keys_of, narrow, sample
from nitro.engines.runner import UNUSABLE_LOGITS, Result
from nitro.engines.types import COLD, IMPOSSIBLE, SamplingParams

CONTEXT = 64  # no history is longer
NUDGE = 1e-4  # a sum that is this near to top_p, or a ratio to min_p, may fall on either side
EIGHT = np.array([1.5, -0.5, 3.0, 0.0, 2.5, -4.0, 1.0, 2.0])  # the logits of a small vocabulary
BEST = 2  # token of EIGHT
GREEDY = SamplingParams(temperature=0)

quick = settings(deadline=None, database=None)


def label(value: object) -> str:
    """For the names of tests: what is not as by default."""
    if not isinstance(value, SamplingParams):
        return str(value)
    names = (
        name for name in SamplingParams.__struct_fields__ if getattr(value, name) != getattr(SamplingParams(), name)
    )
    return " ".join(f"{name}={getattr(value, name)}" for name in names) or "default"


def row(sampling: SamplingParams, tokens: list[int] | None = None) -> SamplerRow:
    return SamplerRow(sampling, [0] if tokens is None else tokens, Bias.of(sampling))


def replace_sampling(row: SamplerRow, sampling: SamplingParams) -> SamplerRow:
    return SamplerRow(sampling, row.tokens, row.bias, row.matcher)


@dataclass
class Batch:
    logits: np.ndarray  # [rows, vocabulary]
    rows: list[SamplerRow]
    newest: list[int]  # each row's token after its `tokens`

    def device(self) -> mx.array:
        return mx.array(self.logits, mx.float32)

    def device_newest(self) -> mx.array:
        return mx.array(self.newest, mx.uint32)

    def whole(self) -> list[SamplerRow]:
        """The rows with their newest token in `tokens`."""
        return [SamplerRow(r.sampling, [*r.tokens, new], r.bias) for r, new in zip(self.rows, self.newest, strict=True)]


# What can be drawn: the logarithms of the weights of a vocabulary's tokens. The best has 0, what is out has -inf.


def ours(logits: mx.array, rows: list[SamplerRow], newest: mx.array | None = None) -> np.ndarray:
    keys = keys_of(rows, newest is not None)
    return np.array(narrow(adjust(logits, rows, newest), [row.sampling for row in rows], keys))


def llama_chain(logits: np.ndarray, sampling: SamplingParams, tokens: list[int]) -> tuple[np.ndarray, int]:
    """What llama.cpp leaves, its best logit not yet 0, and the token it selects. It learns the last token after the
    others, as in a sequence that goes on."""
    chain = sampler.chain_of(sampling, tokens[:-1], None, len(logits), CONTEXT)
    lib.llama_sampler_accept(chain, tokens[-1])
    ids = np.arange(len(logits))
    if likely_tokens.applies_top_p(sampling):  # which the chain does not
        ids = likely_tokens.kept(sampling, likely_tokens.biased(logits.astype(np.float32), sampling.logit_bias))
    data = np.zeros(len(ids), np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)]))
    data["id"], data["logit"] = ids, logits[ids]
    pointer = data.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
    left = lib.llama_token_data_array(pointer, len(ids), -1, False)
    lib.llama_sampler_apply(chain, ctypes.byref(left))
    lib.llama_sampler_free(chain)
    result = np.full(len(logits), -math.inf)
    for i in range(left.size):  # XTC moves the beginning
        result[left.data[i].id] = left.data[i].logit
    return result, int(left.data[left.selected].id)


def theirs(logits: np.ndarray, sampling: SamplingParams, tokens: list[int]) -> np.ndarray:
    left, _ = llama_chain(logits, sampling, tokens)
    return left - left.max()


def shares(weights: np.ndarray) -> np.ndarray:
    return np.exp(weights) / np.exp(weights).sum()


def rounding(logits: np.ndarray) -> float:
    return float(1e-5 + 1e-6 * np.abs(logits[np.isfinite(logits)]).max())


def without_filters(sampling: SamplingParams) -> SamplingParams:
    return replace(sampling, top_n_sigma=0.0, top_k=0, typical_p=1.0, top_p=1.0, min_p=0.0)


def nudged(sampling: SamplingParams, by: float) -> SamplingParams:
    """With its filters a little wider."""
    top_p = sampling.top_p + by if sampling.top_p < 1 else 1.0
    typical_p = min(max(sampling.typical_p + by, 0.0), 1.0)
    top_n_sigma = sampling.top_n_sigma * (1 + by)
    return replace(sampling, top_n_sigma=top_n_sigma, typical_p=typical_p, top_p=top_p, min_p=sampling.min_p * (1 - by))


def assert_agrees(mine: np.ndarray, logits: np.ndarray, sampling: SamplingParams, tokens: list[int]) -> None:
    """Left are the best tokens, as many as llama.cpp leaves, with its weights. Of equal ones any may be left."""
    least, most = (np.isfinite(theirs(logits, nudged(sampling, by), tokens)).sum() for by in (-NUDGE, NUDGE))
    unfiltered, _ = llama_chain(logits, without_filters(sampling), tokens)
    weights = unfiltered - unfiltered.max()
    kept = np.isfinite(mine)
    assert least <= kept.sum() <= most
    assert np.abs(mine[kept] - weights[kept]).max() <= rounding(unfiltered)
    assert weights[~kept].max(initial=-math.inf) <= mine[kept].min() + rounding(unfiltered)


def assert_typical(mine: np.ndarray, logits: np.ndarray, sampling: SamplingParams, tokens: list[int]) -> None:
    """The same of typical_p alone: left are the tokens whose surprise is nearest to the mean."""
    least, most = (np.isfinite(theirs(logits, nudged(sampling, by), tokens)).sum() for by in (-NUDGE, NUDGE))
    weights = theirs(logits, replace(without_filters(sampling), temperature=1.0), tokens)
    share = shares(weights)
    possible = share > 0
    surprise = -np.log(share[possible])
    distance = np.full(len(logits), math.inf)
    distance[possible] = np.abs(surprise - (share[possible] * surprise).sum())
    kept = np.isfinite(mine)
    assert least <= kept.sum() <= most
    assert distance[kept].max() <= distance[~kept].min(initial=math.inf) + 10 * rounding(weights)
    expected = (weights[kept] - weights[kept].max()) / sampling.temperature
    assert mine[kept] == pytest.approx(expected, abs=10 * rounding(weights) / sampling.temperature)


def assert_same_weights(mine: np.ndarray, expected: np.ndarray, temperature: float, logits: np.ndarray) -> None:
    """The same but for equal ones, of which any may be left."""
    mine, expected = np.sort(mine[np.isfinite(mine)]), np.sort(expected[np.isfinite(expected)])
    assert len(mine) == len(expected)
    assert mine == pytest.approx(expected, rel=1e-3, abs=10 * rounding(logits) * max(1, 1 / temperature))


# What is drawn


def drawn(logits: np.ndarray, sampling: SamplingParams, count: int) -> list[int]:
    """With the seeds from 0 on."""
    rows = [row(replace(sampling, seed=seed)) for seed in range(count)]
    return sample(mx.array(np.tile(logits, (count, 1)), mx.float32), rows).tolist()


def drawn_in_turn(logits: np.ndarray, seed: int, count: int) -> np.ndarray:
    """With one seed, at the lengths from 0 on."""
    rows = [row(SamplingParams(seed=seed), [0] * length) for length in range(count)]
    return np.array(sample(mx.array(np.tile(logits, (count, 1)), mx.float32), rows))


def assert_fits(got: np.ndarray | list[int], expected: np.ndarray) -> None:
    """χ² of at most 8 tokens' frequencies: above 50 once in 10⁷ times."""
    count = np.bincount(got, minlength=len(expected))
    possible = expected > 0
    mean = expected[possible] * len(got)
    assert not count[~possible].any()
    assert ((count[possible] - mean) ** 2 / mean).sum() < 50


# Any batch


def logits_of(size: int) -> st.SearchStrategy[np.ndarray]:
    """From flat to peaked, with ties, with tokens that are out already. At least 5 are not."""

    def build(seed: int, scale: float, step: float, peak: float, gone: float) -> np.ndarray:
        random = np.random.default_rng(seed)
        logits = random.normal(0, scale, size)
        if step:
            logits = np.round(logits / step) * step
        logits[random.integers(size)] += peak
        logits[random.permutation(size)[: int(size * gone)]] = -math.inf
        return logits.astype(np.float32)

    return st.builds(
        build,
        seed=st.integers(0, 2**32 - 1),
        scale=st.sampled_from([1, 1, 3, 0.01, 0, 15]),
        step=st.sampled_from([0, 0, 0.5, 3]),
        peak=st.sampled_from([0, 0, 0, 3, 40]),
        gone=st.sampled_from([0, 0, 0.1, 0.9]),
    )


def samplings_of(size: int, temperatures: st.SearchStrategy[float]) -> st.SearchStrategy[SamplingParams]:
    return st.builds(
        SamplingParams,
        temperature=temperatures,
        top_n_sigma=st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0]) | st.floats(0.01, 5),
        top_k=st.just(0) | st.integers(1, size + 10),
        top_p=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.99, 0.999]) | st.floats(0, 1),
        min_p=st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.02, 0.001]) | st.floats(0, 1),
        repetition_penalty=st.just(1.0) | st.floats(0.25, 4),
        frequency_penalty=st.just(0.0) | st.floats(-2, 2),
        presence_penalty=st.just(0.0) | st.floats(-2, 2),
        repeat_last_n=st.sampled_from([-1, 0, 1, 2, 5, 20, CONTEXT, 2**31 - 1]),
        logit_bias=st.dictionaries(
            st.integers(0, 7) | st.integers(0, size - 1),
            st.floats(-5, 5) | st.sampled_from([-math.inf, -math.inf, -100.0, 100.0]),
            max_size=3,
        ),
        seed=st.integers(0, 2**31 - 1),
    )


def histories_of(size: int) -> st.SearchStrategy[list[int]]:
    """With tokens that come again, near and far, and some that do not."""

    def build(seed: int, length: int, repeated: int) -> list[int]:
        random = np.random.default_rng(seed)
        often, seldom = random.integers(repeated, size=length), random.integers(size, size=length)
        return np.where(random.random(length) < 0.7, often, seldom).tolist()

    return st.builds(build, seed=st.integers(0, 2**32 - 1), length=st.integers(1, 40), repeated=st.integers(1, 8))


@st.composite
def batches(draw: Callable, temperatures: st.SearchStrategy[float], least: int = 1) -> Batch:
    size = draw(st.integers(50, 300))
    drawn_rows = st.tuples(logits_of(size), samplings_of(size, temperatures), histories_of(size))
    logits, samplings, histories = zip(*draw(st.lists(drawn_rows, min_size=least, max_size=4)), strict=True)
    rows = [row(sampling, tokens[:-1]) for sampling, tokens in zip(samplings, histories, strict=True)]
    return Batch(np.stack(logits), rows, [tokens[-1] for tokens in histories])


warm = st.just(1.0) | st.floats(0.05, 100)


class TestAgainstLlama:
    @settings(quick, max_examples=150)
    @given(batches(warm))
    def test_the_same_tokens_are_left_with_the_same_weights(self, batch: Batch) -> None:
        left = ours(batch.device(), batch.whole())
        for mine, logits, r in zip(left, batch.logits, batch.whole(), strict=True):
            assert_agrees(mine, logits, r.sampling, r.tokens)

    @quick
    @given(batches(st.just(1.0)))
    def test_bias_and_penalties_give_the_same_logits(self, batch: Batch) -> None:
        rows = batch.whole()
        for mine, logits, r in zip(np.array(adjust(batch.device(), rows)), batch.logits, rows, strict=True):
            adjusted, _ = llama_chain(logits, without_filters(r.sampling), r.tokens)
            out = np.isinf(adjusted)
            assert np.isneginf(mine[out]).all()
            assert np.abs(mine[~out] - adjusted[~out]).max() <= rounding(adjusted)

    @quick
    @given(batches(st.just(0.0)))
    def test_greedy_takes_the_best(self, batch: Batch) -> None:
        rows = batch.whole()
        for best, logits, r in zip(sample(batch.device(), rows).tolist(), batch.logits, rows, strict=True):
            _, selected = llama_chain(logits, r.sampling, r.tokens)
            weights = theirs(logits, replace(without_filters(r.sampling), temperature=1.0), r.tokens)
            assert weights[best] == pytest.approx(weights[selected], abs=1e-3)

    @settings(quick, max_examples=100)
    @given(batches(warm), st.data())
    def test_typical_p_leaves_the_same_tokens(self, batch: Batch, data: st.DataObject) -> None:
        shares_of = st.sampled_from([0.2, 0.5, 0.9, 0.99, 1.0]) | st.floats(0, 1)
        rows = [
            replace_sampling(r, replace(without_filters(r.sampling), typical_p=data.draw(shares_of)))
            for r in batch.whole()
        ]
        for mine, logits, r in zip(ours(batch.device(), rows), batch.logits, rows, strict=True):
            assert_typical(mine, logits, r.sampling, r.tokens)

    @pytest.mark.parametrize(
        "sampling",
        [
            SamplingParams(typical_p=0.3),
            SamplingParams(typical_p=0.6, logit_bias={2: -math.inf}),
            SamplingParams(top_n_sigma=1.0, typical_p=0.5),
            SamplingParams(top_k=4, typical_p=0.9),
            SamplingParams(top_k=6, typical_p=0.8, top_p=0.9),
            SamplingParams(typical_p=0.8, top_p=0.6),
            SamplingParams(typical_p=0.95, min_p=0.3),
            SamplingParams(top_k=3, xtc_probability=1.0, xtc_threshold=0.2),
            SamplingParams(min_p=0.4, xtc_probability=1.0, xtc_threshold=0.15, temperature=3.0),
            SamplingParams(top_k=4, dynatemp_range=0.5),
            SamplingParams(xtc_probability=1.0, dynatemp_range=0.9, dynatemp_exponent=2.0),
            SamplingParams(top_n_sigma=1.4, top_k=5, typical_p=0.95, top_p=0.95, min_p=0.1, temperature=0.7),
        ],
        ids=label,
    )
    def test_filters_come_in_the_same_order(self, sampling: SamplingParams) -> None:
        """Logits so that a number changes where any two filters change places."""
        for logits in (EIGHT, EIGHT * 0.3, np.append(EIGHT * 2, -300.0)):
            expected = theirs(logits.astype(np.float32), sampling, [0])
            assert ours(mx.array(logits, mx.float32)[None], [row(sampling)])[0] == pytest.approx(expected, abs=1e-5)

    @quick
    @given(batches(warm), st.floats(0, 0.6))
    def test_xtc_leaves_the_same(self, batch: Batch, threshold: float) -> None:
        xtc = {"xtc_probability": 1.0, "xtc_threshold": threshold}
        rows = [replace_sampling(r, replace(without_filters(r.sampling), **xtc)) for r in batch.whole()]
        for mine, logits, r in zip(ours(batch.device(), rows), batch.logits, rows, strict=True):
            weights = theirs(logits, replace(without_filters(r.sampling), temperature=1.0), r.tokens)
            assume(np.abs(shares(weights) - threshold).min() > NUDGE * threshold)
            assume(np.abs(weights[np.isfinite(weights)] - math.log(IMPOSSIBLE)).min() > NUDGE)
            assert_same_weights(mine, theirs(logits, r.sampling, r.tokens), r.sampling.temperature, logits)

    @pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
    @pytest.mark.parametrize(("reach", "exponent"), [(0.1, 1.0), (0.3, 2.0), (2.0, 0.5), (20.0, 0.0)])
    def test_the_dynamic_temperature_is_the_same(self, temperature: float, reach: float, exponent: float) -> None:
        sampling = SamplingParams(temperature=temperature, dynatemp_range=reach, dynatemp_exponent=exponent, top_k=60)
        logits = np.random.default_rng(3).normal(size=(4, 200)).astype(np.float32) * [[0.1], [1], [2], [4]]
        rows = [row(sampling), row(replace(sampling, top_k=0)), row(sampling), row(replace(sampling, top_p=0.9))]
        for mine, values, r in zip(ours(mx.array(logits, mx.float32), rows), logits, rows, strict=True):
            assert mine == pytest.approx(theirs(values.astype(np.float32), r.sampling, [0]), rel=1e-3, abs=1e-4)

    def test_typical_p_without_any_possible_neighbour(self) -> None:
        logits = np.array([-math.inf, 3.0, -math.inf, -200.0], np.float32)
        for sampling in (
            SamplingParams(typical_p=0.5),
            SamplingParams(typical_p=0.0),
            SamplingParams(typical_p=0.5, top_n_sigma=0.1),
        ):
            assert np.flatnonzero(np.isfinite(theirs(logits, sampling, [0]))).tolist() == [1]
            assert np.flatnonzero(np.isfinite(ours(mx.array(logits)[None], [row(sampling)])[0])).tolist() == [1]

    def test_greedy_takes_the_first_of_the_best(self) -> None:
        logits = np.array([1, 3, 2, 3, 3], np.float32)
        assert llama_chain(logits, SamplingParams(temperature=0), [0])[1] == 1
        assert sample(mx.array(logits)[None], [row(SamplingParams(temperature=0))]).tolist() == [1]

    @pytest.mark.parametrize(
        ("sampling", "count"),
        [
            (SamplingParams(top_k=1), 1),
            (SamplingParams(top_k=2), 2),
            (SamplingParams(top_p=0.25), 1),
            (SamplingParams(top_p=0.5), 2),
            (SamplingParams(top_p=0.51), 3),
            (SamplingParams(top_k=2, top_p=0.5), 1),
            (SamplingParams(min_p=1.0), 4),
            (SamplingParams(top_k=3, min_p=1.0), 3),
        ],
        ids=label,
    )
    def test_equal_tokens_at_a_cut(self, sampling: SamplingParams, count: int) -> None:
        logits = np.array([0, -200, 0, 0, -200, 0], np.float32)
        assert np.isfinite(ours(mx.array(logits)[None], [row(sampling)])).sum() == count
        assert np.isfinite(theirs(logits, sampling, [0])).sum() == count


class TestFilters:
    @pytest.mark.parametrize(
        "sampling",
        [
            SamplingParams(top_k=1),
            SamplingParams(top_p=0.0),
            SamplingParams(top_p=1e-9),
            SamplingParams(top_p=1e-45),
            SamplingParams(min_p=1.0),
            SamplingParams(top_k=1, top_p=0.0, min_p=1.0),
            SamplingParams(top_k=1, temperature=1e30),
            SamplingParams(top_n_sigma=1e-9),
        ],
        ids=label,
    )
    def test_an_extreme_leaves_the_best(self, sampling: SamplingParams) -> None:
        assert np.flatnonzero(np.isfinite(ours(mx.array(EIGHT)[None], [row(sampling)])[0])).tolist() == [BEST]
        assert set(drawn(EIGHT, sampling, 50)) == {BEST}

    @pytest.mark.parametrize(
        "sampling",
        [
            SamplingParams(),
            SamplingParams(top_k=8),
            SamplingParams(top_k=9),
            SamplingParams(top_k=2**31 - 1),
            SamplingParams(top_p=0.99999),
            SamplingParams(min_p=1e-9),
            SamplingParams(top_n_sigma=50.0),
            SamplingParams(typical_p=0.99999),
        ],
        ids=label,
    )
    def test_the_other_extreme_leaves_all(self, sampling: SamplingParams) -> None:
        assert ours(mx.array(EIGHT)[None], [row(sampling)])[0] == pytest.approx(EIGHT - EIGHT[BEST])

    def test_they_come_before_the_temperature(self) -> None:
        sampling = SamplingParams(top_p=0.5, min_p=0.5)
        for temperature in (0.01, 1, 100):
            left = ours(mx.array(EIGHT)[None], [row(replace(sampling, temperature=temperature))])[0]
            assert np.flatnonzero(np.isfinite(left)).tolist() == [2, 4]
            assert left[4] == pytest.approx(-0.5 / temperature)

    def test_a_row_keeps_to_its_own(self) -> None:
        samplings = [
            SamplingParams(top_k=2),
            SamplingParams(),
            SamplingParams(top_p=0.8),
            SamplingParams(min_p=0.5),
            SamplingParams(temperature=7),
        ]
        samplings += [
            SamplingParams(typical_p=0.4),
            SamplingParams(top_n_sigma=1.0),
            SamplingParams(typical_p=0.4, top_p=0.5),
        ]
        samplings += [
            SamplingParams(xtc_probability=1.0),
            SamplingParams(dynatemp_range=0.9),
            SamplingParams(xtc_probability=0.001),
        ]
        together = ours(mx.array(np.tile(EIGHT, (len(samplings), 1))), [row(sampling) for sampling in samplings])
        for left, sampling in zip(together, samplings, strict=True):
            assert left.tolist() == ours(mx.array(EIGHT)[None], [row(sampling)])[0].tolist()


class TestPenalties:
    @pytest.mark.parametrize("known", [True, False], ids=["all in tokens", "the last on the device"])
    @pytest.mark.parametrize(
        ("last_n", "seen"),
        [
            (0, []),
            (1, [5]),
            (2, [4, 5]),
            (5, [1, 2, 3, 4, 5]),
            (6, [0, 1, 2, 3, 4, 5]),
            (7, [0, 1, 2, 3, 4, 5]),
            (2**31 - 1, [0, 1, 2, 3, 4, 5]),
            (-1, [0, 1, 2, 3, 4, 5]),
        ],
    )
    def test_how_far_back_they_look(self, last_n: int, seen: list[int], known: bool) -> None:
        sampling = SamplingParams(presence_penalty=1.0, repeat_last_n=last_n)
        tokens = [0, 1, 2, 3, 4, 5]
        if known:
            logits = adjust(mx.zeros((1, 8)), [row(sampling, tokens)])
        else:
            logits = adjust(mx.zeros((1, 8)), [row(sampling, tokens[:-1])], mx.array(tokens[-1:], mx.uint32))
        assert np.flatnonzero(np.array(logits[0]) == -1).tolist() == seen

    @quick
    @given(batches(warm | st.just(0.0)))
    def test_a_token_on_the_device_counts_like_any_other(self, batch: Batch) -> None:
        logits, newest = batch.device(), batch.device_newest()
        known = adjust(logits, batch.whole())
        assert mx.array_equal(adjust(logits, batch.rows, newest), known)
        assert sample(logits, batch.rows, newest).tolist() == sample(logits, batch.whole()).tolist()

    def test_what_they_do(self) -> None:
        sampling = SamplingParams(repetition_penalty=2.0, frequency_penalty=0.25, presence_penalty=0.5)
        logits = mx.array([[3.0, -3.0, 0.0, 3.0, -math.inf]])
        adjusted = adjust(logits, [row(sampling, [0, 1, 1, 2, 1, 4])])
        assert adjusted[0].tolist() == pytest.approx([1.5 - 0.75, -6 - 1.25, -0.75, 3, -math.inf])

    def test_nothing_was_seen(self) -> None:
        assert adjust(mx.ones((1, 4)), [row(SamplingParams(presence_penalty=1.0), [])]).tolist() == [[1, 1, 1, 1]]

    def test_a_row_looks_at_its_own_history(self) -> None:
        sampling = SamplingParams(presence_penalty=1.0)
        rows = [row(sampling, [0]), row(SamplingParams(), [1]), row(sampling, [2])]
        assert adjust(mx.zeros((3, 4)), rows).tolist() == [[-1, 0, 0, 0], [0, 0, 0, 0], [0, 0, -1, 0]]
        newest = mx.array([3, 3, 0], mx.uint32)
        assert adjust(mx.zeros((3, 4)), rows, newest).tolist() == [[-1, 0, 0, -1], [0, 0, 0, 0], [-1, 0, -1, 0]]


class TestBias:
    @pytest.mark.parametrize("temperature", [0, 1e-6, 1, 100])
    def test_a_banned_token_is_never_drawn(self, temperature: float) -> None:
        banned = {BEST: -math.inf, 4: -math.inf, 5: -math.inf}
        got = drawn(EIGHT, SamplingParams(temperature=temperature, logit_bias=banned), 100)
        assert set(got).isdisjoint(banned)
        assert temperature >= 1 or set(got) == {7}

    @pytest.mark.parametrize("temperature", [0, 1])
    def test_a_hundred_forces_a_token(self, temperature: float) -> None:
        assert set(drawn(EIGHT, SamplingParams(temperature=temperature, logit_bias={5: 100}), 100)) == {5}

    def test_every_bias_counts(self) -> None:
        rows = [
            row(SamplingParams(logit_bias={0: 2.5, 3: -1, 6: 7})),
            row(SamplingParams()),
            row(SamplingParams(logit_bias={1: -math.inf})),
        ]
        assert adjust(mx.ones((3, 7)), rows).tolist() == [
            [3.5, 1, 1, 0, 1, 1, 8],
            [1, 1, 1, 1, 1, 1, 1],
            [1, -math.inf, 1, 1, 1, 1, 1],
        ]

    def test_it_comes_before_the_penalties(self) -> None:
        """So a bias decides whether the repetition penalty multiplies or divides."""
        sampling = SamplingParams(repetition_penalty=2.0, logit_bias={0: -3.0, 1: 3.0, 2: -math.inf, 3: 4.0})
        adjusted = adjust(mx.array([[1.0, -1.0, 1.0, 2.0]]), [row(sampling, [0, 1, 2])])
        assert adjusted[0].tolist() == [-4, 1, -math.inf, 6]

    def test_it_comes_before_the_filters(self) -> None:
        left = ours(mx.array(EIGHT)[None], [row(SamplingParams(top_k=2, logit_bias={5: 100.0, BEST: -math.inf}))])[0]
        assert np.flatnonzero(np.isfinite(left)).tolist() == [4, 5]


class TestDraws:
    @pytest.mark.parametrize(
        "sampling",
        [
            SamplingParams(),
            SamplingParams(temperature=0.4),
            SamplingParams(temperature=100),
            SamplingParams(top_k=3),
            SamplingParams(top_k=4, temperature=3),
            SamplingParams(top_p=0.7),
            SamplingParams(min_p=0.2),
            SamplingParams(typical_p=0.7),
            SamplingParams(top_n_sigma=1.2),
            SamplingParams(top_k=5, top_p=0.95, min_p=0.3, temperature=1.5),
        ],
        ids=label,
    )
    def test_their_frequencies_are_what_llama_makes_probable(self, sampling: SamplingParams) -> None:
        assert_fits(drawn(EIGHT, sampling, 20_000), shares(theirs(EIGHT, sampling, [0])))

    def test_whether_xtc_applies_says_nothing_about_the_draw(self) -> None:
        xtc = SamplingParams(xtc_probability=0.3, xtc_threshold=0.1)
        with_all, without = (shares(theirs(EIGHT, replace(xtc, xtc_probability=p), [0])) for p in (0.0, 1.0))
        assert without[BEST] == 0
        assert_fits(drawn(EIGHT, xtc, 20_000), 0.7 * with_all + 0.3 * without)

    def test_one_seed_draws_independently_at_every_length(self) -> None:
        logits = np.array([0.5, 0.0])
        got = drawn_in_turn(logits, seed=7, count=2001)
        share = shares(logits)
        assert_fits(got[:-1] * 2 + got[1:], np.outer(share, share).ravel())

    @pytest.mark.parametrize("temperature", [COLD, 1e-5])
    def test_equal_tokens_stay_equal_at_the_lowest_temperatures(self, temperature: float) -> None:
        got = drawn(np.array([20.0, -30.0, 20.0, 19.0, 20.0]), SamplingParams(temperature=temperature), 1000)
        assert_fits(got, np.array([1 / 3, 0, 1 / 3, 0, 1 / 3]))

    def test_equal_tokens_stay_equal_at_the_highest(self) -> None:
        got = drawn(np.array([30.0, -math.inf, -30.0, 0.0]), SamplingParams(temperature=1e30), 1000)
        assert_fits(got, np.array([1 / 3, 0, 1 / 3, 1 / 3]))

    @pytest.mark.parametrize("temperature", [0, 1e-50, 1e-30, COLD * 0.999, COLD, COLD * 1.001])
    def test_the_best_is_drawn_on_both_sides_of_the_greedy_threshold(self, temperature: float) -> None:
        assert set(drawn(EIGHT, SamplingParams(temperature=temperature), 50)) == {BEST}
        assert set(drawn(np.zeros(8), SamplingParams(temperature=temperature), 50)) == set(
            range(8 if temperature >= COLD else 1)
        )

    def test_another_seed_or_length_draws_something_else(self) -> None:
        flat = np.zeros(1000)
        one, *others = (drawn_in_turn(flat, seed, 200) for seed in (1, 2, 2**16 + 1, 2**24 + 1, 2**31 - 2, 2**31 - 1))
        by_seed = np.array(drawn(flat, SamplingParams(), 200))  # all of length 1
        pairs = list(combinations([one, *others], 2))
        pairs += [(one[:-1], others[0][1:]), (one[1:], others[0][:-1])]  # a seed is no length
        pairs += [(by_seed[2:], one[2:]), (by_seed[1:], by_seed[:-1]), (one[1:], one[:-1])]
        for a, b in pairs:
            assert (a == b).sum() < 5

    @quick
    @given(batches(warm | st.sampled_from([0.0, 1e-6, 1.0, 1.0]), least=2), st.data())
    def test_a_row_draws_the_same_wherever_it_stands(self, batch: Batch, data: st.DataObject) -> None:
        logits, newest = batch.device(), batch.device_newest()
        count = len(batch.rows)
        order = data.draw(st.lists(st.sampled_from(range(count)), min_size=1, max_size=6))
        alone = [sample(logits[i : i + 1], [batch.rows[i]]).item() for i in range(count)]
        ahead = [sample(logits[i : i + 1], [batch.rows[i]], newest[i : i + 1]).item() for i in range(count)]
        rows, where = [batch.rows[i] for i in order], mx.array(order)
        assert sample(logits[where], rows).tolist() == [alone[i] for i in order]
        assert sample(logits[where], rows, newest[where]).tolist() == [ahead[i] for i in order]

    @pytest.mark.parametrize(
        "other",
        [
            SamplingParams(temperature=0),
            SamplingParams(top_n_sigma=1.0),
            SamplingParams(top_k=3),
            SamplingParams(typical_p=0.5),
            SamplingParams(top_p=0.5),
            SamplingParams(min_p=0.1),
            SamplingParams(xtc_probability=0.5, xtc_threshold=0.01),
            SamplingParams(temperature=2),
            SamplingParams(dynatemp_range=0.5),
        ],
        ids=label,
    )
    def test_a_neighbour_changes_nothing(self, other: SamplingParams) -> None:
        logits = mx.array(np.random.default_rng(1).normal(size=(2, 200)))
        for seed in range(20):
            mine = row(SamplingParams(seed=seed))
            alone = sample(logits[:1], [mine]).item()
            assert sample(logits, [mine, row(other)])[0].item() == alone
            assert sample(logits[::-1], [row(other), mine])[1].item() == alone

    def test_greedy_rows_take_the_best_beside_warm_ones(self) -> None:
        logits = mx.array([[0, 0, 9, 0], [0, 0, 0, 0], [8, 0, 0, 0], [0, 0, 0, 0]], mx.float32)
        greedy = row(SamplingParams(temperature=0))
        for seed in range(20):
            other = row(SamplingParams(seed=seed, top_k=3))
            assert sample(logits, [greedy, other, greedy, other])[::2].tolist() == [2, 0]

    def test_a_drawn_token_belongs_to_its_row(self) -> None:
        logits = mx.where(mx.eye(6, 50), 100.0, 0.0)
        rows = [row(SamplingParams(temperature=t, seed=i)) for i, t in enumerate([1, 0, 1, 1, 0, 1])]
        assert sample(logits, rows).tolist() == [0, 1, 2, 3, 4, 5]


class TestArrays:
    @pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
    def test_half_precision_is_as_good(self, dtype: mx.Dtype) -> None:
        logits = mx.array(np.random.default_rng(2).normal(0, 3, (4, 100))).astype(dtype)
        rows = [
            row(SamplingParams(temperature=0)),
            row(SamplingParams(top_p=0.9, logit_bias={3: 1.0})),
            row(SamplingParams(min_p=0.05, repetition_penalty=1.3), [1, 2]),
            row(SamplingParams(top_k=40)),
        ]
        assert sample(logits, rows).tolist() == sample(logits.astype(mx.float32), rows).tolist()
        assert adjust(logits, rows).dtype == mx.float32

    @pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
    def test_the_callers_logits_stay_as_they_are(self, dtype: mx.Dtype) -> None:
        logits = mx.zeros((2, 10), dtype)
        rows = [
            row(SamplingParams(logit_bias={1: 5.0}, top_k=3)),
            row(SamplingParams(presence_penalty=1.0, min_p=0.5), [4]),
        ]
        mx.eval(sample(logits, rows, mx.array([1, 2], mx.uint32)))
        mx.eval(adjust(logits, rows), narrow(logits, [r.sampling for r in rows], keys_of(rows)))
        assert logits.dtype == dtype
        assert logits.tolist() == [[0] * 10] * 2

    @pytest.mark.parametrize("temperatures", [[0], [1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    def test_a_token_per_row(self, temperatures: list[float]) -> None:
        count = len(temperatures)
        for filters in ({}, {"top_k": 2}, {"min_p": 0.1}):
            rows = [row(SamplingParams(temperature=temperature, **filters)) for temperature in temperatures]
            tokens = sample(mx.zeros((count, 10)), rows)
            assert (tokens.dtype, tokens.shape) == (mx.uint32, (count,))


UNUSABLE = {
    "none is possible": np.full(len(EIGHT), -np.inf),
    "none is a number": np.full(len(EIGHT), np.nan),
    "one is no number": np.where(np.arange(len(EIGHT)) == BEST, np.nan, EIGHT),
    "one is infinite": np.where(np.arange(len(EIGHT)) == BEST, np.inf, EIGHT),
}


@pytest.mark.parametrize("logits", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0),
        SamplingParams(temperature=0, frequency_penalty=0.5),
        SamplingParams(),
        SamplingParams(top_k=3, min_p=0.1),
        SamplingParams(top_p=0.9),
        SamplingParams(typical_p=0.9, xtc_probability=0.5),
        SamplingParams(logit_bias={1: 3.0}),
    ],
    ids=label,
)
def test_neither_engine_draws_from_unusable_logits(logits: np.ndarray, sampling: SamplingParams) -> None:
    drawn = sample(mx.array(np.stack([logits, EIGHT]), mx.float32), [row(sampling), row(GREEDY)])
    assert drawn.tolist() == [NONE, BEST], "the row beside it is drawn"
    chain = sampler.chain_of(sampling, [0], vocab=None, vocabulary=len(EIGHT), context=CONTEXT)
    assert sampler.sample(chain, sampling, logits.astype(np.float32)) is None
    assert sampler.pick_allowed(chain, sampling, logits.astype(np.float32), Allowing({1, BEST})) is None
    lib.llama_sampler_free(chain)
    if sampler.takes_likeliest(sampling):
        assert sampler.likeliest(logits.astype(np.float32)) is None


def test_a_row_without_a_token_says_whose_fault_it_is() -> None:
    assert Result.failed(None).error == Result.failed(Allowing({1})).error == UNUSABLE_LOGITS
    for by_grammar in (Result.failed(Allowing(set())), Result.failed(Allowing({1}), biased=True)):
        assert (by_grammar.error, by_grammar.param) == (Allowing.problem, "grammar")


class Allowing:
    """A grammar that allows these tokens now."""

    param, problem, schema_violated = "grammar", "It allows nothing.", False

    def __init__(self, tokens: set[int]):
        self._tokens = tokens
        self.active = self

    def allows(self, token: int) -> bool:
        return token in self._tokens

    def mask(self) -> bytes:
        return sum(1 << token for token in self._tokens).to_bytes(1, "little")

    def accept(self, token: int) -> bool:
        return True


def shares_of_allowed(allowed: set[int], sampling: SamplingParams) -> np.ndarray:
    """How likely each token of EIGHT is, where the filters see the allowed ones only."""
    logits = np.where(np.isin(np.arange(len(EIGHT)), list(allowed)), EIGHT, -np.inf)
    possible = logits[np.isfinite(logits)]
    if sampling.top_n_sigma:
        logits[logits < possible.max() - sampling.top_n_sigma * possible.std()] = -np.inf
    if sampling.top_k:
        logits[np.argsort(-logits)[sampling.top_k :]] = -np.inf
    falling = np.argsort(-logits)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    above = np.cumsum(shares[falling]) - shares[falling]
    logits[falling[above >= sampling.top_p]] = -np.inf
    logits[np.exp(logits - logits.max()) < sampling.min_p] = -np.inf
    shares = np.exp((logits - logits.max()) / sampling.temperature)
    return shares / shares.sum()


def drawn_by_llama(allowed: set[int], sampling: SamplingParams, draws: int) -> np.ndarray:
    chain = sampler.chain_of(sampling, [0], vocab=None, vocabulary=len(EIGHT), context=CONTEXT)
    logits = EIGHT.astype(np.float32)
    matcher = Allowing(allowed)
    tokens = [sampler.pick_allowed(chain, sampling, logits, matcher) for _ in range(draws)]
    lib.llama_sampler_free(chain)
    return np.bincount(tokens, minlength=len(EIGHT))


def drawn_by_mlx(allowed: set[int], sampling: SamplingParams, draws: int) -> np.ndarray:
    rows = 100
    logits = mx.array(np.tile(EIGHT, (rows, 1)), mx.float32)
    counts = np.zeros(len(EIGHT), int)
    for first in range(0, draws, rows):
        batch = [SamplerRow(replace(sampling, seed=first + i), [0], None, Allowing(allowed)) for i in range(rows)]
        counts += np.bincount(np.array(sample(logits, batch)), minlength=len(EIGHT))
    return counts


# χ² that one in a thousand draws by chance exceeds, by degrees of freedom
MOST_BY_CHANCE = (0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32)


@pytest.mark.parametrize("drawn", [drawn_by_llama, drawn_by_mlx])
@pytest.mark.parametrize("allowed", [{0, 1, 3, 6, 7}, {1, 2, 4, 7}, {3, 5}], ids=str)
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(),
        SamplingParams(temperature=2.0),
        SamplingParams(top_k=2),
        SamplingParams(top_k=3, temperature=1.5),
        SamplingParams(top_p=0.7),
        SamplingParams(min_p=0.2),
        SamplingParams(top_n_sigma=1.0),
        SamplingParams(top_k=4, top_p=0.8, min_p=0.1, temperature=0.7),
    ],
    ids=label,
)
def test_filters_see_what_a_grammar_allows(
    drawn: Callable[[set[int], SamplingParams, int], np.ndarray], allowed: set[int], sampling: SamplingParams
) -> None:
    """The best token is forbidden in two of three: what is drawn is as if there were the allowed tokens only."""
    draws = 3000
    expected = draws * shares_of_allowed(allowed, sampling)
    counts = drawn(allowed, sampling, draws)
    kept = expected > 0
    assert not counts[~kept].any()
    deviation = ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    assert deviation <= MOST_BY_CHANCE[kept.sum() - 1], (counts, expected)
