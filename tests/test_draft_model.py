"""A second model that guesses (--draft): its vocabulary, what it keeps, and that no answer is changed by it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from driving import GREEDY
from gguf import GGMLQuantizationType as Type
from llama_scorer import LlamaScorer
from msgspec.structs import replace
from running import RunningServer
from same_answer import assert_identical, assert_same_answer, tolerance
from tiny_models import VOCABULARY, write_gguf

from bench import files
from nitro.config import ServeConfig
from nitro.engines.backends import draft_vocabulary
from nitro.engines.backends.draft_vocabulary import NONE, Vocabulary
from nitro.engines.backends.llama import draft_model, footprint
from nitro.engines.backends.llama.draft_streams import LOSES_LITTLE, MIN_COPIED, Streams
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.hardware.memory import KVPlan
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.errors import StartError
from nitro.server import Server

# Vocabularies


def vocabulary(name: str, *texts: str) -> Vocabulary:
    """Special is what stands in angle brackets."""
    return Vocabulary(name, list(texts), lambda token: texts[token].startswith("<"))


def test_the_same_vocabulary_needs_no_map() -> None:
    same = draft_vocabulary.check(vocabulary("t", "<s>", "a", "b"), vocabulary("d", "<s>", "a", "b"))
    assert same.to_draft is None and same.draft_ids([2, 1], instead=0) == [2, 1] and same.target_id(1) == 1


def test_special_tokens_may_be_elsewhere_or_nowhere() -> None:
    """Here others stand before and behind, so that all ids are others."""
    map = draft_vocabulary.check(
        vocabulary("t", "<s>", "a", "b", "<call>", "<end>"), vocabulary("d", "<pad>", "<s>", "<end>", "a", "b")
    )
    assert map.draft_ids([0, 1, 2, 3, 4], instead=7) == [1, 3, 4, 7, 2]
    assert [map.target_id(token) for token in range(5)] == [NONE, 0, 4, 1, 2]


@pytest.mark.parametrize(
    ("target", "draft", "said"),
    [
        (["<s>", "a", "b"], ["<s>", "a", "c"], "token 2 of big is 'b', and small has 'c' there"),
        (["<s>", "a", "b"], ["<s>", "a"], "token 2 of big is 'b', and small ends at 2 tokens"),
        (["<s>", "a"], ["<s>", "a", "b"], "token 2 of small is 'b', and big ends at 2 tokens"),
        (["<s>", "a", "<x>"], ["<s>", "a", "x"], "token 2 of small is 'x', and big has '<x>' there"),
    ],
)
def test_another_vocabulary_is_refused_by_its_first_token(target: list[str], draft: list[str], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        draft_vocabulary.check(vocabulary("big", *target), vocabulary("small", *draft))


# Streams

LONG = list(range(MIN_COPIED * 4))


def held(streams: Streams, sequence: int, tokens: list[int]) -> int:
    """Let a sequence say these tokens. Which stream it got."""
    streams.begin()
    placed = streams.place(sequence, tokens)
    assert placed
    if placed.source:
        placed.stream.tokens = placed.source.tokens.copy()
    placed.stream.follow(tokens)
    placed.stream.add(tokens[len(placed.stream.tokens) :])
    return placed.stream.id


def test_a_stream_keeps_what_its_sequence_still_says() -> None:
    streams = Streams(2)
    stream = streams.all[held(streams, 1, [1, 2, 3])]
    stream.tokens += [4, 5]  # guesses, of which the first was right
    assert stream.follow([1, 2, 3, 4, 9]) == 4 and stream.tokens == [1, 2, 3, 4]
    stream.keep(2)
    assert stream.follow([1, 2, 3]) == 2


def test_a_sequence_stays_in_its_stream_and_leaves_it_for_one_that_begins_alike() -> None:
    streams = Streams(3)
    first = held(streams, 1, LONG)
    assert held(streams, 1, [*LONG, 7]) == first
    streams.end(1)
    assert held(streams, 2, [9, 9]) != first, "an idle stream that holds nothing loses nothing"
    streams.end(2)
    assert held(streams, 3, [*LONG, 7, 8]) == first


def test_what_others_share_is_copied() -> None:
    streams = Streams(3)
    first = held(streams, 1, LONG)
    streams.begin()
    placed = streams.place(2, [*LONG[:-1], 7])
    assert placed and placed.source is streams.all[first] and placed.stream.id != first
    few = streams.place(3, LONG[: MIN_COPIED - 1])
    assert few and few.source is None


def test_a_stream_that_would_lose_much_is_not_taken_over() -> None:
    streams = Streams(2)
    first = held(streams, 1, LONG)
    streams.end(1)
    kept = len(LONG) - len(LONG) // LOSES_LITTLE - 1
    assert held(streams, 2, LONG[:kept]) != first


def test_streams_that_run_lie_side_by_side() -> None:
    """llama.cpp computes only those together."""
    streams = Streams(8)
    for sequence in range(8):
        held(streams, sequence, [sequence] * 50)
    for sequence in range(8):
        streams.end(sequence)
    ids = sorted(held(streams, 10 + i, [100 + i] * 50) for i in range(4))
    assert ids == list(range(ids[0], ids[0] + 4))


def test_where_all_are_in_use_there_is_none() -> None:
    streams = Streams(1)
    assert held(streams, 1, [1]) == 0
    assert streams.place(2, [1]) is None, "used in this call"
    assert held(streams, 2, [1]) == 0, "its sequence runs, but is not of this call"


# A runner with a draft model


@dataclass
class Said:
    """What became of sequences that were driven."""

    answers: list[list[int]]
    drafted: int = 0
    accepted: int = 0
    steps: int = 0


def say(
    runner: LlamaRunner, prompts: list[list[int]], length: int, sampling: Callable[[int], SamplingParams], limit: int
) -> Said:
    """Let each prompt be answered with `length` tokens at least, guessing up to `limit` in each step."""
    said = Said([list(prompt) for prompt in prompts])
    computed = [runner.trim(slot, 0) for slot in range(len(prompts))]
    waiting = set(range(len(prompts)))
    while waiting:
        batch = [
            Chunk(100 + i, i, said.answers[i], computed[i], len(said.answers[i]), sampling(i), len(prompts[i]))
            for i in sorted(waiting)
        ]
        if limit and all(computed):
            for chunk, guesses in zip(batch, runner.guess(batch, [limit] * len(batch)), strict=True):
                assert len(guesses) <= limit and not set(guesses) & runner.info.eog
                chunk.draft = guesses
        runner.submit(batch)
        for chunk, result in zip(batch, runner.collect(), strict=True):
            assert result.error is None
            said.drafted += len(chunk.draft)
            said.accepted += len(result.tokens) - 1
            computed[chunk.slot] = chunk.stop + len(result.tokens) - 1
            said.answers[chunk.slot] += result.tokens
        said.steps += 1
        waiting = {i for i in waiting if len(said.answers[i]) < len(prompts[i]) + length}
    for i, prompt in enumerate(prompts):
        runner.free_sequence(100 + i)
        said.answers[i] = said.answers[i][len(prompt) : len(prompt) + length]
    return said


def spec(target: Path, draft: Path | None, **more: object) -> EngineSpec:
    options = {"context": 256, "parallel": 4} | more
    return EngineSpec("llama", str(target), draft=draft and str(draft), **options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("draft") / "tiny.gguf")


@pytest.fixture(scope="module")
def rounded(tiny: Path) -> Path:
    """The same weights with errors: often of the same mind."""
    return write_gguf(tiny.with_name("rounded.gguf"), type=Type.Q4_0)


@pytest.fixture(scope="module")
def other(tiny: Path) -> Path:
    """Other weights: never of the same mind."""
    return write_gguf(tiny.with_name("other.gguf"), seed=1)


@pytest.fixture(autouse=True)
def _confident(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model finds no token likely."""
    monkeypatch.setattr(draft_model, "MIN_CONFIDENCE", 0.0)


PROMPTS = [[*range(20, 20 + 9 * (i + 1))] for i in range(4)]


def greedy(_: int) -> SamplingParams:
    return GREEDY


def seeded(i: int) -> SamplingParams:
    return replace(GREEDY, temperature=1.5, top_k=20, seed=i, repetition_penalty=1.1, repeat_last_n=16)


@pytest.mark.parametrize("draft", ["tiny", "rounded", "other"])
def test_no_greedy_answer_is_changed(draft: str, request) -> None:
    tiny: Path = request.getfixturevalue("tiny")
    runner = LlamaRunner(spec(tiny, request.getfixturevalue(draft)))
    assert runner.info.has_draft_model and runner.info.draft_tokens
    scorer = LlamaScorer(tiny, context=512, banned=[0, 2])
    explained = tolerance(scorer, list(range(20, 140)))
    for limit in (1, 5):
        said = say(runner, PROMPTS, 40, greedy, limit)
        for prompt, answer in zip(PROMPTS, said.answers, strict=True):
            assert_same_answer(scorer, prompt, answer, explained)
    if draft == "tiny":
        assert said.accepted > 0.95 * said.drafted and said.steps < 12
    scorer.close()
    runner.close()


@pytest.mark.parametrize("draft", ["tiny", "rounded", "other"])
def test_no_seed_draws_anything_else(draft: str, request) -> None:
    """Where rows compute the same numbers in any batch, nothing is left that could explain another token."""
    tiny: Path = request.getfixturevalue("tiny")
    runner = LlamaRunner(spec(tiny, request.getfixturevalue(draft), deterministic=True))
    plain = say(runner, PROMPTS, 40, seeded, limit=0)
    for limit in (1, 5):
        said = say(runner, PROMPTS, 40, seeded, limit)
        assert_identical(_differences(plain, said))
    runner.close()


def test_a_guess_is_drawn_with_the_target_s_random_number(tiny: Path) -> None:
    runner = LlamaRunner(spec(tiny, tiny))
    said = say(runner, PROMPTS, 40, seeded, limit=4)
    assert said.accepted > 0.95 * said.drafted > 100
    runner.close()


def _differences(plain: Said, said: Said) -> list[str]:
    pairs = zip(plain.answers, said.answers, strict=True)
    return [f"{before} and {now}" for before, now in pairs if before != now]


def test_the_draws_are_of_the_model_s_distribution(tiny: Path, rounded: Path) -> None:
    """20,000 of the token after a prompt, and as many of the one after it as were guessed rightly: χ² of how often each
    token came, beside how likely the model finds it."""
    slots, prompt, top_k, temperature = 50, PROMPTS[0], 8, 2.5
    runner = LlamaRunner(spec(tiny, rounded, parallel=slots, context=64))
    start = len(prompt) - 1
    warm = [Chunk(1, slot, prompt, 0, start, SamplingParams(), len(prompt)) for slot in range(slots)]
    for i in range(0, slots, 10):
        runner.submit(warm[i : i + 10])
        runner.collect()
    first = np.zeros(VOCABULARY)
    second: dict[int, np.ndarray] = {}
    for turn in range(20_000 // slots):
        ids = [10 + turn * slots + slot for slot in range(slots)]
        batch = [
            Chunk(id, slot, list(prompt), start, len(prompt), _drawn(id, top_k, temperature), len(prompt))
            for slot, id in enumerate(ids)
        ]
        for chunk, guesses in zip(batch, runner.guess(batch, [1] * slots), strict=True):
            chunk.draft = guesses
        runner.submit(batch)
        for chunk, result in zip(batch, runner.collect(), strict=True):
            first[result.tokens[0]] += 1
            if len(result.tokens) > 1:
                second.setdefault(result.tokens[0], np.zeros(VOCABULARY))[result.tokens[1]] += 1
            runner.free_sequence(chunk.sequence_id)
            assert runner.trim(chunk.slot, start) == start
    runner.close()
    assert first.sum() == 20_000 and sum(counts.sum() for counts in second.values()) > 5_000, "many guesses were right"
    scorer = LlamaScorer(tiny, context=64)
    assert_drawn_from(first, scorer.logits(prompt, [start, 1])[-1], top_k, temperature)
    for token, counts in second.items():
        if counts.sum() > 500:
            assert_drawn_from(counts, scorer.logits([*prompt, token], [start, 1, 1])[-1], top_k, temperature)
    scorer.close()


def _drawn(seed: int, top_k: int, temperature: float) -> SamplingParams:
    return SamplingParams(temperature=temperature, top_k=top_k, seed=seed, min_p=0.0, top_p=1.0)


def assert_drawn_from(counts: np.ndarray, logits: np.ndarray, top_k: int, temperature: float) -> None:
    likely = np.argsort(-logits)[:top_k]
    assert counts[likely].sum() == counts.sum(), "only what top_k leaves"
    shares = np.exp((logits[likely] - logits.max()) / temperature)
    expected = shares / shares.sum() * counts.sum()
    enough = expected >= 5
    seen, wanted = counts[likely][enough], expected[enough]
    degrees = max(enough.sum() - 1, 1)
    chi_square = ((seen - wanted) ** 2 / wanted).sum()
    assert chi_square < degrees + 4 * (2 * degrees) ** 0.5, (chi_square, seen, wanted)


def test_a_vocabulary_with_another_special_token_is_mapped(tiny: Path) -> None:
    draft = write_gguf(tiny.with_name("renamed.gguf"), names={4: "<|another|>"})
    runner = LlamaRunner(spec(tiny, draft, deterministic=True))
    prompts = [[*PROMPTS[0], 4, 30, 31]]
    plain = say(runner, prompts, 30, seeded, limit=0)
    drafted = say(runner, prompts, 30, seeded, limit=4)
    assert_identical(_differences(plain, drafted))
    assert drafted.accepted > 0
    runner.close()


def test_what_fails_in_the_draft_model_fails_no_request(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = LlamaRunner(spec(tiny, tiny, deterministic=True))
    plain = say(runner, PROMPTS, 20, greedy, limit=0)
    calls = 0
    decode = lib.llama_decode

    def failing(context, batch) -> int:
        nonlocal calls
        if context == runner._draft._context.pointer:
            calls += 1
            if calls % 3 == 0:
                return 1
        return decode(context, batch)

    monkeypatch.setattr(lib, "llama_decode", failing)
    drafted = say(runner, PROMPTS, 20, greedy, limit=4)
    assert_identical(_differences(plain, drafted))
    assert calls > 6 and drafted.drafted > 0
    runner.close()


def test_a_sequence_that_outgrows_the_draft_model_goes_on_without(tiny: Path) -> None:
    runner = LlamaRunner(spec(tiny, tiny, parallel=1, deterministic=True))
    runner._draft._length = 40
    plain = say(runner, PROMPTS[:1], 60, greedy, limit=0)
    drafted = say(runner, PROMPTS[:1], 60, greedy, limit=4)
    assert_identical(_differences(plain, drafted))
    assert 0 < drafted.drafted < 60
    runner.close()


def test_a_long_prompt_is_followed_in_parts(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who decode wait for one part at most, and get their guesses meanwhile."""
    monkeypatch.setattr(draft_model, "STEP_TOKENS", 32)
    runner = LlamaRunner(spec(tiny, tiny, parallel=2))
    prompts = [list(range(20, 30)), list(range(20, 120))]
    batch = [Chunk(i, i, tokens, 0, len(tokens), GREEDY, len(tokens)) for i, tokens in enumerate(prompts)]
    counts = [[len(guesses) for guesses in runner.guess(batch, [3, 3])] for _ in range(5)]
    assert counts == [[3, 0], [3, 0], [3, 0], [3, 3], [3, 3]]
    runner.close()


def test_the_draft_model_survives_a_reset(tiny: Path) -> None:
    runner = LlamaRunner(spec(tiny, tiny))
    before = say(runner, PROMPTS, 12, greedy, limit=4)
    runner.reset()
    again = say(runner, PROMPTS, 12, greedy, limit=4)
    assert (again.answers, again.accepted) == (before.answers, before.accepted)
    runner.close()


def test_its_memory_is_counted(tiny: Path) -> None:
    plain, drafting = LlamaRunner(spec(tiny, None)), LlamaRunner(spec(tiny, tiny))
    assert not plain.info.has_draft_model
    assert drafting.info.kv_bytes == 2 * plain.info.kv_bytes
    plain.close()
    drafting.close()


def test_what_cannot_draft_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"nothing\.gguf"):
        LlamaRunner(spec(tiny, tmp_path / "nothing.gguf"))
    different = write_gguf(tmp_path / "different.gguf", names={900: "quite different"})
    with pytest.raises(LoadError, match=r"token 900 of .*tiny.gguf is .*, and .*different.gguf has 'quite different'"):
        LlamaRunner(spec(tiny, different))


def test_windows_that_do_not_fit_are_refused(gemma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left them cannot be taken back, so that no guess would ever be checked."""
    monkeypatch.setattr(footprint, "plan", lambda *_: KVPlan(512, 1024, full_windows=False, token_bytes=18432))
    with pytest.raises(LoadError, match="--draft needs KV that can be cut"):
        LlamaRunner(spec(gemma, gemma, context=512, parallel=2))


# In a server


def test_a_server_with_a_draft_model_counts_what_came_true(tiny: Path) -> None:
    config = ServeConfig(model=str(tiny), draft=str(tiny), engine="llama", port=0, context=256, parallel=2)
    with RunningServer(config) as server:
        client = server.ready().client()
        assert client.models.list().data[0].model_extra["capabilities"]["draft_model"] is True
        reply = client.completions.create(
            model="tiny",
            prompt="Once upon",
            max_tokens=60,
            temperature=0,
            n=2,
            logprobs=1,
            extra_body={"ignore_eos": True},
        )
        assert [len(choice.logprobs.tokens) for choice in reply.choices] == [60, 60]
        assert reply.usage.completion_tokens == 120
        details = reply.usage.completion_tokens_details
        assert 0 <= details.accepted_prediction_tokens <= 120 and details.rejected_prediction_tokens >= 0


def test_a_draft_model_that_is_not_there_is_told_at_once(tiny: Path) -> None:
    with pytest.raises(StartError, match=r"nowhere\.gguf: no such file"):
        Server(ServeConfig(model=str(tiny), draft="nowhere.gguf", port=0))


def test_smollm_is_guessed_by_itself_in_four_bits(smollm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is sure of what it guesses it is nearly always right."""
    runner = LlamaRunner(spec(smollm, files.quantized(smollm, "Q4_0"), context=512, parallel=2))
    monkeypatch.setattr(draft_model, "MIN_CONFIDENCE", 0.8)
    asked = "<|im_start|>user\nList the days of the week, one in a line.<|im_end|>\n<|im_start|>assistant\n"
    prompt = runner.tokenizer.encode(asked)
    said = say(runner, [prompt, prompt[:-1]], 40, greedy, limit=4)
    assert said.accepted > 0.9 * said.drafted > 9
    runner.close()
