"""A draft model beside an MLX model: it follows the sequences, it draws as they do, and it changes no answer."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import pytest
from driving import GREEDY
from msgspec.structs import replace
from tiny_models import write_folder

from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.types import EngineSpec, SamplingParams

WARM = SamplingParams(temperature=0.7, seed=5, top_k=40, logit_bias=GREEDY.logit_bias)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    made: dict[tuple[str, int], Path] = {}

    def of(kind: str = "plain", seed: int = 0) -> Path:
        if (kind, seed) not in made:
            made[kind, seed] = write_folder(tmp_path_factory.mktemp("model"), kind, seed)
        return made[kind, seed]

    return of


@pytest.fixture
def load() -> Iterator[Callable[[Path, Path | None], MlxRunner]]:
    runners = []

    def of(model: Path, draft: Path | None) -> MlxRunner:
        chosen = None if draft is None else str(draft)
        runners.append(MlxRunner(EngineSpec(engine="mlx", model=str(model), draft=chosen, context=300, parallel=4)))
        return runners[-1]

    yield of
    for runner in runners:
        runner.close()


@pytest.fixture(autouse=True)
def any_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest token of a random model is hardly ever likely."""
    monkeypatch.setattr("nitro.engines.backends.mlx.draft_model.MIN_CONFIDENCE", 0.0)


def prompt(seed: int = 1, length: int = 40) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(20, 1024) for _ in range(length)]


def chunk(tokens: list[int], start: int, sampling: SamplingParams, slot: int = 0) -> Chunk:
    return Chunk(1, slot, tokens, start, len(tokens), sampling, prompt_length=len(tokens))


def answer(runner: MlxRunner, tokens: list[int], count: int, sampling: SamplingParams, drafts: bool) -> list[int]:
    """So many tokens that follow; with `drafts` as the draft model guesses them."""
    said = tokens.copy()
    start = 0
    while len(said) < len(tokens) + count:
        step = chunk(said, start, sampling)
        if drafts:
            (step.draft,) = runner.guess([step], [4])
        runner.submit([step])
        (result,) = runner.collect()
        assert result.error is None and result.tokens
        start = step.stop + len(result.tokens) - 1
        said += result.tokens
    runner.trim(0, 0)
    return said[len(tokens) : len(tokens) + count]


@pytest.mark.parametrize("sampling", [replace(GREEDY, seed=3), WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("draft_seed", [0, 7], ids=["itself", "another"])
def test_no_answer_is_changed(
    load: Callable[..., MlxRunner], folder: Callable[..., Path], sampling: SamplingParams, draft_seed: int
) -> None:
    runner = load(folder(), folder(seed=draft_seed))
    assert runner.info.has_draft_model
    plain = answer(runner, prompt(), 30, sampling, drafts=False)
    assert answer(runner, prompt(), 30, sampling, drafts=True) == plain


@pytest.mark.parametrize("sampling", [replace(GREEDY, seed=3), WARM], ids=["greedy", "warm"])
def test_the_model_itself_guesses_what_it_will_say(
    load: Callable[..., MlxRunner], folder: Callable[..., Path], sampling: SamplingParams
) -> None:
    """Whatever the temperature: both draw with the same random numbers."""
    runner = load(folder(), folder())
    said = answer(runner, prompt(), 8, sampling, drafts=False)
    assert runner.guess([chunk(prompt(), 39, sampling)], [8]) == [said]


def test_it_computes_only_what_is_new(
    load: Callable[..., MlxRunner], folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = load(folder(), folder(seed=7))
    assert runner._draft
    network = runner._draft._model.network
    shapes: list[int] = []
    counting = lambda x, cache: shapes.append(x.shape[1]) or network(x, cache=cache)  # noqa: E731
    counting.layers = network.layers
    monkeypatch.setattr(runner._draft._model, "network", counting)
    tokens = prompt()
    (guessed,) = runner.guess([chunk(tokens, 39, GREEDY)], [3])
    assert shapes == [39, 1, 1, 1] and len(guessed) == 3
    shapes.clear()
    tokens += [guessed[0], 5]  # the first was right
    again = runner.guess([chunk(tokens, 41, GREEDY)], [2])
    assert shapes == [1, 1]
    shapes.clear()
    assert runner.guess([chunk(tokens, 41, GREEDY)], [2]) == again  # preempted, say, and back
    assert shapes == [1, 1]
    shapes.clear()
    assert runner.guess([chunk(tokens, 41, GREEDY, slot=2)], [2]) == again  # its prefix was copied to another slot
    assert shapes == [1, 1]
    shapes.clear()
    other = runner.guess([chunk(prompt(2), 39, GREEDY, slot=2)], [2])
    assert shapes == [39, 1, 1]
    assert runner.guess([chunk(tokens, 41, GREEDY)], [2]) == again
    fresh = load(folder(), folder(seed=7))
    assert fresh.guess([chunk(prompt(2), 39, GREEDY)], [2]) == other


def test_a_long_prompt_is_followed_in_parts(
    load: Callable[..., MlxRunner], folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step waits for all of it."""
    monkeypatch.setattr("nitro.engines.backends.mlx.draft_model.STEP_TOKENS", 16)
    runner = load(folder(), folder())
    asked = chunk(prompt(length=100), 99, GREEDY)
    assert [len(runner.guess([asked], [3])[0]) for _ in range(4)] == [0, 0, 3, 3]


def test_what_was_not_used_for_long_is_dropped(load: Callable[..., MlxRunner], folder: Callable[..., Path]) -> None:
    runner = load(folder(), folder(seed=7))
    assert runner._draft
    runner._draft.max_tokens = 100
    for slot in range(4):
        runner.guess([chunk(prompt(slot), 39, GREEDY, slot=slot)], [2])
    assert set(runner._draft._held) == {2, 3}


def test_no_guess_ends_an_answer(load: Callable[..., MlxRunner], folder: Callable[..., Path]) -> None:
    runner = load(folder(), folder())
    (end, *_) = runner.info.eog
    ending = replace(GREEDY, logit_bias={end: 1000.0})
    assert runner.guess([chunk(prompt(), 39, ending)], [3]) == [[]]


def test_no_guesses_beyond_its_context(load: Callable[..., MlxRunner], folder: Callable[..., Path]) -> None:
    runner = load(folder(), folder())
    assert runner._draft
    runner._draft._model.trained_context = 41
    assert runner.guess([chunk(prompt(), 39, GREEDY)], [2]) == [[]]
    assert runner.guess([chunk(prompt(), 39, GREEDY)], [1]) != [[]]


def with_vocabulary(source: Path, goal: Path, change: Callable[[dict], None]) -> Path:
    goal.mkdir()
    for file in source.iterdir():
        (goal / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((goal / "tokenizer.json").read_text())
    change(tokenizer)
    (goal / "tokenizer.json").write_text(json.dumps(tokenizer))
    return goal


def test_another_vocabulary_is_refused(
    load: Callable[..., MlxRunner], folder: Callable[..., Path], tmp_path: Path
) -> None:
    def rename(tokenizer: dict) -> None:
        words = tokenizer["model"]["vocab"]
        text = next(text for text, id in words.items() if id == 300)
        words["qqqqq"] = words.pop(text)
        tokenizer["model"]["merges"] = []

    with pytest.raises(LoadError, match=r"another vocabulary than the model.*token 300"):
        load(folder(), with_vocabulary(folder(), tmp_path / "other", rename))


def test_a_recurrent_model_is_refused(load: Callable[..., MlxRunner], folder: Callable[..., Path]) -> None:
    with pytest.raises(LoadError, match="--draft needs models that can take tokens back"):
        load(folder(), folder("arrays"))
    with pytest.raises(LoadError, match="--draft needs models that can take tokens back"):
        load(folder("arrays"), folder())


def test_deterministic_excludes_it(folder: Callable[..., Path]) -> None:
    spec = EngineSpec(engine="mlx", model=str(folder()), draft=str(folder()), deterministic=True)
    with pytest.raises(LoadError, match=r"exclude each other|of MLX on a GPU"):
        MlxRunner(spec)


def test_a_slot_that_is_reset_is_followed_anew(load: Callable[..., MlxRunner], folder: Callable[..., Path]) -> None:
    runner = load(folder(), folder(seed=7))
    guessed = runner.guess([chunk(prompt(), 39, GREEDY)], [3])
    runner.reset()
    mx.clear_cache()
    assert runner.guess([chunk(prompt(), 39, GREEDY)], [3]) == guessed
