"""Tokens that a sampler chain can draw, found by NumPy: the chain draws among them as it draws among all."""

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
    SamplingParams(top_p=0.9),
    SamplingParams(min_p=0.1, top_p=0.9),
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


def random_logits(rng: np.random.Generator, vocabulary: int) -> np.ndarray:
    return (rng.standard_normal(vocabulary) * rng.uniform(0.5, 5)).astype(np.float32)


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
                assert sampler.draw(few, sampling, logits) == sampler.pick(every, logits, np.arange(vocabulary))


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


def test_where_no_token_is_possible_nothing_is_drawn() -> None:
    logits = np.full(5000, -np.inf, np.float32)
    for sampling in (SamplingParams(top_k=40), SamplingParams(min_p=0.1)):
        with chains(sampling, 5000, 1) as (chain,):
            assert sampler.draw(chain, sampling, logits) is None
