"""Tokens that a sampler chain can draw, found by NumPy: the chain draws among them as it draws among all."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from msgspec.structs import replace

from nitro.engines.backends.llama import likely_tokens, sampler
from nitro.engines.types import SamplingParams

CONTEXT = 64
BANS = {0: -np.inf, 5: -np.inf}
FILTERED = [
    SamplingParams(top_k=40, top_p=0.95, min_p=0.05, temperature=0.8),
    SamplingParams(top_k=40, logit_bias={**BANS, 7: 9.0, 11: -2.0}),
    SamplingParams(top_k=3, temperature=2.0, typical_p=0.9),
    SamplingParams(top_k=150, xtc_probability=0.5, xtc_threshold=0.01),
    SamplingParams(min_p=0.02, temperature=1.5),
    SamplingParams(min_p=0.3, logit_bias={9: 30.0}),
    SamplingParams(top_k=20, dynatemp_range=0.5),
]
UNKNOWN = [
    SamplingParams(top_k=40, frequency_penalty=0.1),
    SamplingParams(top_k=40, top_n_sigma=1.0),
    SamplingParams(top_k=40, dry_multiplier=0.5),
    SamplingParams(typical_p=0.9),
    SamplingParams(top_p=0.9, typical_p=0.9),
    SamplingParams(mirostat=2),
    SamplingParams(temperature=0.0, top_k=40),
]


def label(sampling: SamplingParams) -> str:
    usual = SamplingParams()
    fields = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
    return "-".join(f"{name}-{value}" for name, value in fields.items() if value != getattr(usual, name))


@contextmanager
def chains(sampling: SamplingParams, vocabulary: int, count: int) -> Iterator[list[Any]]:
    made = [sampler.chain_of(sampling, [], None, vocabulary, CONTEXT) for _ in range(count)]
    yield made
    for chain in made:
        lib.llama_sampler_free(chain)


def among_all(chain: Any, logits: np.ndarray) -> int:
    """What llama.cpp draws by itself."""
    candidates = np.zeros(len(logits), sampler.CANDIDATE)
    candidates["id"], candidates["logit"] = np.arange(len(logits)), logits
    pointer = candidates.ctypes.data_as(lib.llama_token_data_p)
    array = lib.llama_token_data_array(data=pointer, size=len(logits), selected=-1, sorted=False)
    lib.llama_sampler_apply(chain, ctypes.byref(array))
    return int(array.data[array.selected].id)


def random_logits(rng: np.random.Generator, vocabulary: int, spread: float = 0.5) -> np.ndarray:
    return (rng.standard_normal(vocabulary) * rng.uniform(spread, 5)).astype(np.float32)


@pytest.mark.parametrize("vocabulary", [49_152, 32_003])
@pytest.mark.parametrize("sampling", FILTERED, ids=label)
def test_the_draws_are_those_among_all_tokens(sampling: SamplingParams, vocabulary: int) -> None:
    rng = np.random.default_rng(1)
    with chains(replace(sampling, seed=5), vocabulary, 2) as (few, every):
        for _ in range(15):
            logits = random_logits(rng, vocabulary)
            ids = likely_tokens.kept(sampling, likely_tokens.biased(logits, sampling.logit_bias))
            assert ids is not None and len(ids) < vocabulary
            for _ in range(50):
                assert sampler.draw(few, sampling, logits) == among_all(every, logits)


@pytest.mark.parametrize("sampling", UNKNOWN, ids=label)
def test_where_it_is_not_known_the_chain_looks_at_all(sampling: SamplingParams) -> None:
    logits = random_logits(np.random.default_rng(2), 9600)
    assert likely_tokens.kept(sampling, logits) is None and not likely_tokens.draws_of_all(sampling)


def test_equal_logits_are_all_kept() -> None:
    logits = np.zeros(9600, np.float32)
    logits[::101] = 1.0
    assert set(likely_tokens.kept(SamplingParams(top_k=5), logits)) == set(range(0, 9600, 101))


def test_more_tokens_than_columns_tell_are_left_to_the_chain() -> None:
    logits = random_logits(np.random.default_rng(3), 9600)
    assert likely_tokens.kept(SamplingParams(top_k=9000), logits) is None


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(top_p=0.95, temperature=0.7),
        SamplingParams(top_p=0.5, logit_bias={**BANS, 7: 9.0}),
        SamplingParams(top_p=0.99, min_p=0.001, temperature=1.5),
    ],
    ids=label,
)
@pytest.mark.parametrize("vocabulary", [900, 49_152])
def test_top_p_draws_as_llama_cpp_s(sampling: SamplingParams, vocabulary: int) -> None:
    """That adds up shares in another order and precision, so where many tokens share little it may keep one more."""
    rng = np.random.default_rng(6)
    assert likely_tokens.applies_top_p(sampling)
    filters = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for added in (
        lib.llama_sampler_init_top_p(sampling.top_p, 1),
        lib.llama_sampler_init_min_p(sampling.min_p, 1),
        lib.llama_sampler_init_temp_ext(sampling.temperature, 0.0, 1.0),
        lib.llama_sampler_init_dist(5),
    ):
        lib.llama_sampler_chain_add(filters, added)
    differing = 0
    with chains(replace(sampling, seed=5), vocabulary, 1) as (few,):
        for _ in range(20):
            logits = random_logits(rng, vocabulary, spread=3.5)
            adjusted = likely_tokens.biased(logits, sampling.logit_bias)
            differing += sum(sampler.draw(few, sampling, logits) != among_all(filters, adjusted) for _ in range(20))
    lib.llama_sampler_free(filters)
    assert differing <= 2


@pytest.mark.parametrize("vocabulary", [7, 96, 1000])
@pytest.mark.parametrize(
    "sampling", [SamplingParams(), SamplingParams(temperature=0.6, logit_bias={**BANS, 3: 2.0})], ids=label
)
def test_without_filters_each_token_is_drawn_as_often_as_it_should(sampling: SamplingParams, vocabulary: int) -> None:
    rng = np.random.default_rng(4)
    logits = (rng.standard_normal(vocabulary) * 2).astype(np.float32)
    logits[min(50, vocabulary - 2)] = -np.inf
    assert likely_tokens.draws_of_all(sampling)
    draws = 20_000
    with chains(sampling, vocabulary, 1) as (chain,):
        counts = np.bincount([sampler.draw(chain, sampling, logits) for _ in range(draws)], minlength=vocabulary)
    weights = likely_tokens.biased(logits, sampling.logit_bias).astype(float) / sampling.temperature
    expected = draws * np.exp(weights - weights.max()) / np.exp(weights - weights.max()).sum()
    assert not counts[expected == 0].any()
    often = expected >= 5
    groups = [*zip(counts[often], expected[often], strict=True), (counts[~often].sum(), expected[~often].sum())]
    deviation = sum((seen - wanted) ** 2 / wanted for seen, wanted in groups if wanted)
    freedom = len(groups) - 1
    assert deviation < freedom + 4 * np.sqrt(2 * freedom)


def test_a_seed_repeats_its_draws_and_so_does_a_copy_of_the_chain() -> None:
    """The draft model guesses by a copy of the sequence's chain."""
    sampling = SamplingParams(seed=3, temperature=1.2)
    logits = random_logits(np.random.default_rng(5), 5000)

    def draws(chain: Any) -> list[int]:
        return [sampler.sample(chain, sampling, logits) for _ in range(30)]

    with chains(sampling, 5000, 2) as (first, second):
        begun = draws(first)
        assert begun == draws(second) and len(set(begun)) > 5
        copy = lib.llama_sampler_clone(first)
        assert draws(copy) == draws(first)
        lib.llama_sampler_free(copy)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
def test_top_p_keeps_no_more_than_the_share(share: float, spread: float) -> None:
    """Of flat distributions too, where that is most of the vocabulary."""
    logits = (np.random.default_rng(7).standard_normal(30_000) * spread).astype(np.float32)
    weights = np.exp(logits.astype(float))
    places = likely_tokens.kept(SamplingParams(top_p=share), logits)
    shares = weights[places] / weights.sum()
    assert shares.sum() >= share - 1e-4 and shares[:-1].sum() <= share + 1e-4
    others = np.delete(weights, places)
    assert not len(others) or weights[places].min() >= others.max()


def test_top_p_that_keeps_all_leaves_each_token_its_logit() -> None:
    logits = np.array([0.0, 9.0, 1.0, 2.0], np.float32)
    sampling = SamplingParams(top_p=0.99999)
    with chains(sampling, 4, 1) as (chain,):
        draws = [sampler.draw(chain, sampling, logits) for _ in range(200)]
    assert draws.count(1) > 190


def test_where_no_token_is_possible_nothing_is_drawn() -> None:
    logits = np.full(5000, -np.inf, np.float32)
    for sampling in (SamplingParams(top_k=40), SamplingParams(min_p=0.1), SamplingParams(top_p=0.5), SamplingParams()):
        with chains(sampling, 5000, 1) as (chain,):
            assert sampler.draw(chain, sampling, logits) is None
