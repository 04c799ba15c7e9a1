"""The MLX runner, driven by the real scheduler, on tiny random models of every kind of KV cache."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import mlx.core as mx
import pytest
from driving import GREEDY, Driver
from mlx_lm.models.cache import KVCache
from mlx_scorer import MlxScorer
from msgspec.structs import replace
from same_answer import assert_same_answer, tolerance
from tiny_models import KINDS, WINDOW, write_folder

from nitro.engines.backends.mlx import kv_cache, library, self_test
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import UNUSABLE_LOGITS, Chunk, LoadError, OutOfKV
from nitro.engines.types import EngineSpec, Output, SamplingParams

LENGTH = 40  # tokens of an answer: with any prompt more than the window
CUT_ANYWHERE = ("plain", "plain, but wrong in a batch")
MERGED = tuple(kind for kind in KINDS if kind not in ("chunked", "plain, but wrong in a batch"))
BANNED = list(GREEDY.logit_bias)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_folder(tmp_path_factory.mktemp("model"), kind)
        return made[kind]

    return of


@pytest.fixture
def load(folder: Callable[[str], Path]) -> Iterator[Callable[..., MlxScorer]]:
    """Runners that live as long as the test."""
    runners = []

    def of(kind: str, **settings: int) -> MlxScorer:
        runners.append(MlxScorer(folder(kind), **{"context": 300, "parallel": 4, **settings}, banned=BANNED))
        return runners[-1]

    yield of
    for runner in runners:
        runner.close()


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def prompts(count: int, seed: int = 1) -> list[list[int]]:
    """Of lengths on both sides of the window, one of them a single token."""
    chance = random.Random(seed)
    lengths = [1, *(chance.choice((5, WINDOW - 1, WINDOW, 60, 110)) for _ in range(count - 1))]
    return [[chance.randrange(20, 1024) for _ in range(length)] for length in lengths]


def same_as_alone(runner: MlxScorer, prompt: list[int], answer: list[int]) -> None:
    assert_same_answer(runner, prompt, answer, explained(runner))


@lru_cache(1)
def explained(runner: MlxScorer) -> float:
    return tolerance(runner, (prompts(9)[1] * 30)[:120])


# Batches


def test_batched_equals_alone(load: Callable[..., MlxScorer], kind: str) -> None:
    """Rows that come and go at different times, with prompts in chunks."""
    runner = load(kind)
    driver = Driver(runner)
    asked = prompts(7)
    for id, prompt in enumerate(asked[:3]):
        driver.add(id, prompt, LENGTH + 7 * id)
    for _ in range(6):
        driver.step()
    for id, prompt in enumerate(asked[3:], 3):
        driver.add(id, prompt, LENGTH - 5 * id)
    answers = driver.run()
    assert max(map(len, driver.batches)) == 4
    for id, prompt in enumerate(asked):
        same_as_alone(runner, prompt, answers[id])


def test_one_pass_for_all_rows(load: Callable[..., MlxScorer], monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A step of four rows that decode is one pass through the weights, where their caches can be merged."""
    runner = load(kind)
    driver = Driver(runner, budget=300)
    for id, prompt in enumerate(prompts(5, seed=3)[1:]):
        driver.add(id, prompt, 20)
    driver.step()
    shapes = []
    network = runner._model.network
    monkeypatch.setattr(runner._model, "network", lambda x, cache: shapes.append(x.shape) or network(x, cache=cache))
    driver.step()
    assert len(driver.batches[-1]) == 4
    assert shapes == ([(4, 1)] if kind in MERGED else [(1, 1)] * 4)


def test_rows_of_very_different_lengths_decode_apart(load: Callable[..., MlxScorer]) -> None:
    """Padding has a limit, and rows find together again where it allows."""
    runner = load("plain")
    runner._max_padding = 20
    driver = Driver(runner, budget=300)
    asked = (prompts(2, seed=5)[1] * 30)[:200], prompts(9, seed=6)[2][:5], prompts(9, seed=7)[3][:5]
    for id, prompt in enumerate(asked):
        driver.add(id, prompt, 12)
    driver.step()
    assert sorted(len(group.rows) for group in runner._groups) == [1, 2]
    answers = driver.run()
    for id, prompt in enumerate(asked):
        same_as_alone(runner, prompt, answers[id])


def test_seeds_beside_others(load: Callable[..., MlxScorer], kind: str) -> None:
    """A row draws the same alone, beside others, and after others came and went."""
    runner = load(kind)
    prompt, *noise = prompts(5, seed=8)[1:]
    hot = SamplingParams(temperature=4.0, seed=11, top_p=0.999, presence_penalty=0.5, logit_bias={2: -100.0, 0: -100.0})
    alone = Driver(runner).answer(1, prompt, 25, hot)
    driver = Driver(runner)
    for id, other in enumerate(noise, 2):
        driver.add(id, other, 10 * id, SamplingParams(temperature=1.0, seed=id))
    for _ in range(3):
        driver.step()
    driver.add(1, prompt, 25, hot)
    assert driver.run()[1] == alone
    assert Driver(runner).answer(1, prompt, 25, replace(hot, seed=12)) != alone


# What is computed ahead stays invisible


def test_requests_that_share_prefixes_and_are_aborted(load: Callable[..., MlxScorer], kind: str) -> None:
    """Slots are cut, reused and left in every state; each answer that ends is what its prompt gets alone."""
    runner = load(kind, parallel=3)
    ended = hammer(runner, requests=40, seed=len(kind))
    assert len(ended) >= 10
    for prompt, answer in ended:
        same_as_alone(runner, prompt, answer)


def test_memory_is_where_it_was_after_200_requests(load: Callable[..., MlxScorer]) -> None:
    runner = load("plain", parallel=8)
    Driver(runner).answer(1, prompts(2)[1], LENGTH)
    empty(runner)
    before = mx.get_active_memory()
    assert len(hammer(runner, requests=200, seed=2)) > 60
    full = mx.get_active_memory()
    empty(runner)
    assert full > before * 1.1, "the slots held something"
    assert abs(mx.get_active_memory() - before) <= 0.02 * before
    assert mx.get_cache_memory() == 0


def empty(runner: MlxRunner) -> None:
    for slot in range(runner.info.slots):
        assert runner.trim(slot, 0) == 0
    runner.release_idle_memory()


def hammer(runner: MlxRunner, requests: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Requests with common beginnings, of which about half are aborted somewhere: (prompt, answer) of the others."""
    chance = random.Random(seed)
    driver = Driver(runner)
    stems = prompts(4, seed=seed)
    asked: dict[int, list[int]] = {}
    aborted = set()
    while len(asked) < requests or driver.scheduler.busy:
        if len(asked) < requests and chance.random() < 0.5:
            stem = chance.choice(stems)
            id = len(asked) + 1
            asked[id] = stem[: chance.randrange(1, len(stem) + 1)] + prompts(1, seed=id)[0]
            if chance.random() < 0.3 and id > 1 and id - 1 not in aborted:
                asked[id] = asked[id - 1] + driver.answers[id - 1] + asked[id][:3]  # the next turn of a conversation
            asked[id] = asked[id][: runner.info.context - 50]
            driver.add(id, asked[id], chance.randrange(1, LENGTH))
        if driver.scheduler.busy:
            driver.step()
        if chance.random() < 0.15 and (alive := [*driver.scheduler.running, *driver.scheduler.waiting]):
            victim = chance.choice(alive).id
            aborted.add(victim)
            driver.scheduler.abort(victim)
        if chance.random() < 0.03:
            runner.release_idle_memory()
    return [(asked[id], driver.answers[id]) for id in asked if id not in aborted]


def test_a_token_computed_ahead_and_not_wanted(load: Callable[..., MlxScorer], kind: str) -> None:
    """The scheduler may go on with another token than the sampled one."""
    runner = load(kind)
    prompt = prompts(3, seed=4)[2]
    tokens = list(prompt)
    start = 0
    for forced in (None, None, 77, None, 78, None):
        runner.submit([Chunk(1, 0, tokens, start, len(tokens), GREEDY)])
        (sampled,) = runner.collect()[0].tokens
        start = len(tokens)
        tokens.append(sampled if forced is None else forced)
    assert tokens[len(prompt) + 2] == 77
    same_as_alone(runner, tokens[:-1], tokens[-1:])


def test_the_oldest_wins_when_the_pool_is_full(load: Callable[..., MlxScorer]) -> None:
    """Idle caches go first, then the youngest is preempted; all answers are right in the end."""
    runner = load("plain", context=120, parallel=3)
    runner.info = replace(runner.info, kv_tokens=150)
    driver = Driver(runner)
    asked = prompts(6, seed=9)[1:4]
    for id, prompt in enumerate(asked):
        driver.add(id, prompt[:50], 60)
    answers = driver.run()
    for id, prompt in enumerate(asked):
        same_as_alone(runner, prompt[:50], answers[id])
    with pytest.raises(OutOfKV):
        runner.submit([Chunk(9, 11, list(range(20, 171)), 0, 151, GREEDY)])


# Slots


def fill(runner: MlxRunner, slot: int, tokens: list[int], start: int = 0) -> None:
    """Compute tokens [start, …) in a slot, in chunks, sampling nothing."""
    for at in range(start, len(tokens), 24):
        runner.submit([Chunk(100 + slot, slot, [*tokens, 20], at, min(at + 24, len(tokens)), GREEDY)])
        assert runner.collect()[0].tokens == []


def best_next(runner: MlxRunner, slot: int, tokens: list[int], start: int) -> list[int]:
    runner.submit([Chunk(100 + slot, slot, tokens, start, len(tokens), GREEDY)])
    return runner.collect()[0].tokens


def test_trim(load: Callable[..., MlxScorer], kind: str) -> None:
    """Short of the window every cache but a recurrent one can be cut; past it only the plain one."""
    runner = load(kind)
    text = prompts(9, seed=10)[4] * 4
    recurrent = kind.startswith(("arrays", "list"))
    for length, cut in ((20, 12), (90, 70), (90, 30)):
        fill(runner, 0, text[:length])
        assert runner.trim(0, length) == length, "nothing to cut"
        whole = kind in CUT_ANYWHERE or (length < WINDOW and not recurrent)
        held = runner.trim(0, cut)
        assert held == (cut if whole else 0)
        other = [*text[:cut], *reversed(text[:15])]
        same_as_alone(runner, other, best_next(runner, 0, other, held))
        assert runner.trim(0, 0) == 0


def test_trim_to_more_than_there_is(load: Callable[..., MlxScorer]) -> None:
    runner = load("plain")
    fill(runner, 0, [30, 31, 32])
    assert runner.trim(0, 4) == 0 and runner.trim(1, 1) == 0


def test_copy(load: Callable[..., MlxScorer], kind: str) -> None:
    """Source and copy go on by themselves, from a slot at rest and from one that decodes."""
    runner = load(kind)
    text = prompts(9, seed=12)[4] * 4
    for decoding in (False, True):
        base = list(text[:70])
        fill(runner, 0, base[:-1])
        if decoding:
            base += best_next(runner, 0, base, 69)
        held = len(base) - 1
        assert runner.copy(0, 1, held) == held
        assert runner.copy(0, 2, 20) == (20 if kind in CUT_ANYWHERE else 0)
        branches = [base, [*base, 500], [*base[:20], 600]]
        starts = [held, held, 20 if kind in CUT_ANYWHERE else 0]
        for slot, (branch, start) in enumerate(zip(branches, starts, strict=True)):
            same_as_alone(runner, branch, best_next(runner, slot, branch, start))
        assert runner.trim(1, 5) == (5 if kind in CUT_ANYWHERE else 0)
        for slot in range(3):
            runner.trim(slot, 0)
    assert runner.copy(5, 6, 1) == 0, "an empty slot"


def test_reset_empties_every_slot(load: Callable[..., MlxScorer]) -> None:
    runner = load("plain")
    text = prompts(9, seed=13)[2]
    fill(runner, 0, text)
    best_next(runner, 1, text, 0)
    runner.reset()
    assert runner.trim(0, 1) == 0
    same_as_alone(runner, text, best_next(runner, 1, text, 0))


def test_rest_gives_memory_back_and_keeps_the_slots(load: Callable[..., MlxScorer]) -> None:
    runner = load("plain")
    text = prompts(9, seed=14)[2]
    first = best_next(runner, 0, text, 0)
    runner.release_idle_memory()
    assert mx.get_cache_memory() == 0
    again = [*text, *first]
    same_as_alone(runner, again, best_next(runner, 0, again, len(text)))


def test_a_long_cache_that_is_cut_gives_its_memory_back(load: Callable[..., MlxScorer]) -> None:
    runner = load("plain", context=4000)
    fill(runner, 0, [30] * 10)
    runner.release_idle_memory()
    short = mx.get_active_memory()
    runner.trim(0, 0)
    runner.submit([Chunk(1, 0, [30] * 2001, 0, 2000, GREEDY)])
    runner.collect()
    assert runner.trim(0, 10) == 10
    runner.release_idle_memory()
    assert mx.get_active_memory() <= short


def test_only_what_cannot_step_back_is_kept_twice(load: Callable[..., MlxScorer]) -> None:
    """Of two layers, the one with a window: a copy of the other would cost as much as the whole context."""
    runner = load("rotating")
    caches = self_test.make_prompt_cache(runner._model.network)
    for length, kept in ((WINDOW - 2, [False, False]), (1, [True, False])):
        self_test._compute(runner._model, [[30] * length], caches)
        assert [before is not None for before in kv_cache.before(caches)] == kept


@pytest.mark.parametrize("sampling", [GREEDY, SamplingParams(), SamplingParams(top_k=40)])
def test_a_model_that_gives_no_numbers(load: Callable[..., MlxScorer], sampling: SamplingParams) -> None:
    """The row fails, its neighbour does not, and its slot is no prefix for anyone."""
    runner = load("plain")
    embedding = runner._model.network.model.embed_tokens
    if "pieces" in embedding:  # as the CPU has it
        columns = embedding.pieces.shape[2]
        embedding.pieces[500 // columns, :, 500 % columns] = mx.nan
    else:
        embedding.weight[500] = mx.nan
    good, bad = [30, 31, 32], [40, 500, 41]
    runner.submit([Chunk(1, 0, good, 0, 3, sampling), Chunk(2, 1, bad, 0, 3, sampling)])
    first, second = runner.collect()
    assert first.error is None and second.tokens == [] and second.error == UNUSABLE_LOGITS
    assert runner.trim(1, 2) == 0 and runner.trim(0, 2) == 2


# Loading


def test_what_is_told_of_a_model(load: Callable[..., MlxScorer], kind: str) -> None:
    info = load(kind, context=200, parallel=2).info
    assert info.engine.startswith("MLX 0.") and "mlx-lm 0." in info.engine and "(CPU)" in info.device
    assert (info.slots, info.parallel, info.context, info.vocabulary) == (10, 2, 200, 1024)
    assert info.eog >= {0, 2} and info.eos == "<|im_end|>" and "im_start" in info.template
    assert info.kv_tokens == 400


def test_kv_bytes(load: Callable[..., MlxScorer]) -> None:
    """Two layers of two heads of 16 float32, keys and values."""
    info = load("plain", context=200, parallel=2).info
    assert info.kv_bytes == 400 * 2 * 2 * 16 * 4 * 2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"wired_limit": "recommended"}, "--wired-limit needs MLX on Metal"),
        ({"wired_limit": "4096"}, "--wired-limit needs MLX on Metal"),
        ({"context": 10**9}, "--ctx 1000000000 needs"),
    ],
)
def test_refused_settings(folder: Callable[[str], Path], settings: dict, sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        MlxRunner(EngineSpec("mlx", str(folder("plain")), **settings))


def test_the_wired_limit_on_metal(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone unless asked for."""
    limits: list[int] = []
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "set_wired_limit", limits.append)
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": 100 * 2**20})
    for wanted in ("off", "recommended", "24"):
        library.set_limits(EngineSpec("mlx", "", wired_limit=wanted))
    assert limits == [100 * 2**20, 24 * 2**20]
    with pytest.raises(LoadError, match="--wired-limit 101 is more than this Mac allows, 100 MiB"):
        library.set_limits(EngineSpec("mlx", "", wired_limit="101"))


def test_the_pool_for_reuse_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr(mx, "set_cache_limit", limits.append)
    for gpu in ("", "Metal"):
        monkeypatch.setattr(library, "gpu_kind", lambda gpu=gpu: gpu)
        library.set_limits(EngineSpec("mlx", ""))
    on_cpu, on_gpu = limits
    assert 0 < on_cpu <= 16 * 2**20 < on_gpu <= 2 * 2**30


def test_tokens_that_the_model_does_not_know(folder: Callable[[str], Path], tmp_path: Path) -> None:
    """Its configuration may name ends beyond its vocabulary, where MLX would write out of bounds."""
    copy = shutil.copytree(folder("plain"), tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "eos_token_id": [2, 5000]}))
    runner = MlxRunner(EngineSpec("mlx", str(copy), context=64))
    assert 2 in runner.info.eog and 5000 not in runner.info.eog and runner.info.vocabulary == 1024
    runner.close()


def test_an_unknown_kind_of_cache(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class OddCache(KVCache):
        pass

    monkeypatch.setattr(self_test, "make_prompt_cache", lambda network: [OddCache(), OddCache()])
    with pytest.raises(LoadError, match="a kind that is not known here: OddCache"):
        MlxRunner(EngineSpec("mlx", str(folder("plain"))))


# Drafts


@pytest.mark.parametrize("sampling", [GREEDY, replace(GREEDY, temperature=1.0, seed=7, presence_penalty=0.5)])
def test_no_answer_is_changed_by_a_draft(load: Callable[..., MlxScorer], sampling: SamplingParams) -> None:
    """One predicted rightly, one in part, one not at all; each alone, so that drafts are taken."""
    runner = load("plain")
    prompt, driver = prompts(3)[2], Driver(runner, budget=300)
    answer = driver.answer(0, prompt, LENGTH, sampling)
    partly = [token if i % 20 else 77 for i, token in enumerate(answer)]
    for id, (predicted, steps) in enumerate([(answer, 10), (partly, 20), ([77] * LENGTH, LENGTH)], 1):
        before = len(driver.batches)
        driver.add(id, prompt, LENGTH, sampling, predicted=predicted)
        if sampling is GREEDY:
            same_as_alone(runner, prompt, driver.run()[id])
        else:
            assert driver.run()[id] == answer
        assert len(driver.batches) - before <= steps


def test_one_that_decodes_beside_others_has_no_draft(load: Callable[..., MlxScorer]) -> None:
    """And takes one again when it is alone."""
    runner = load("plain")
    driver = Driver(runner, budget=300)
    first, second = prompts(3)[1:]
    answer = Driver(runner, budget=300).answer(0, first, LENGTH)
    driver.add(1, first, LENGTH, predicted=answer)
    driver.add(2, second, 10)
    driver.run()
    together = [batch for batch in driver.batches if len(batch) == 2]
    assert len(together) == 10 and len(driver.batches) < 10 + (LENGTH - 10) // 2
    same_as_alone(runner, first, driver.answers[1])
    same_as_alone(runner, second, driver.answers[2])


@pytest.mark.parametrize("most", [0, 3])
def test_logprobs_of_guessed_tokens(load: Callable[..., MlxScorer], most: int) -> None:
    """Those that the sequence has without them."""
    runner, told = load("plain"), {}
    prompt, sampling = prompts(3)[2], replace(GREEDY, logprobs=most)
    answer = Driver(runner, budget=300).answer(0, prompt, 12, sampling)
    for predicted in ((), answer):
        driver = Driver(runner, budget=300)
        driver.add(1, prompt, 12, sampling, predicted=predicted)
        told[bool(predicted)] = [scored for step in _outputs(driver) for scored in step.logprobs]
    for plain, drafted in zip(told[False], told[True], strict=True):
        assert plain.chosen.token == drafted.chosen.token and len(drafted.top) == most
        assert plain.chosen.logprob == pytest.approx(drafted.chosen.logprob, abs=explained(runner))


def _outputs(driver: Driver) -> Iterator[Output]:
    while driver.scheduler.busy:
        batch = driver.scheduler.schedule(lambda *_: 300)
        driver.runner.submit(batch)
        yield from driver.scheduler.advance(batch, driver.runner.collect())
    driver.runner.release_idle_memory()
