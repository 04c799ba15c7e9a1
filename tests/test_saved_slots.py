"""What a slot holds is taken out of a runner and put into another one, which goes on bit by bit as the first does: both
engines, and all that a cache may be."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from driving import GREEDY
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from msgspec.structs import replace
from tiny_families import FAMILIES, write_family
from tiny_models import KINDS, write_folder, write_gguf

from bench.converted_families import write_converted
from nitro.engines.runner import Chunk, ModelRunner
from nitro.engines.types import EngineSpec, SamplingParams

CONTEXT = 300
LENGTH = 90  # tokens, of which a window of 32 keeps a part
TEXT = [20 + 37 * i % 900 for i in range(LENGTH + 12)]
SCORED = SamplingParams(temperature=0, logprobs=8, logit_bias=GREEDY.logit_bias)
RECURRENT = ("mamba2", "lfm2", "falcon-h1", "granitehybrid", "nemotron_h", "qwen3next")
WINDOWED = ("gpt-oss", "gemma4", "exaone4-windows")


def joined(pieces: list[memoryview] | None) -> memoryview:
    """As they come from a file: mapped, and ours to write to."""
    assert pieces
    return memoryview(bytearray(b"".join(pieces)))


def fill(runner: ModelRunner, slot: int, tokens: list[int]) -> None:
    """Compute them all, in chunks, sampling nothing."""
    for at in range(0, len(tokens), 24):
        runner.submit([Chunk(100 + slot, slot, [*tokens, 20], at, min(at + 24, len(tokens)), SCORED)])
        runner.collect()


def goes_on(runner: ModelRunner, slot: int, start: int, tokens: list[int]) -> list[object]:
    """What comes after the rest of the tokens, and how likely all of the best are: one step of several tokens, and
    steps of one."""
    said = list(tokens)
    found: list[object] = []
    for _ in range(6):
        runner.submit([Chunk(100 + slot, slot, said, start, len(said), SCORED)])
        (result,) = runner.collect()
        found += [result.tokens, result.logprobs]
        start, said = len(said), [*said, *result.tokens]
    runner.release_idle_memory()
    runner.free_sequence(100 + slot)
    return found


@pytest.fixture
def keep() -> Iterator[Callable[[ModelRunner], ModelRunner]]:
    """Runners that are closed after the test."""
    kept: list[ModelRunner] = []
    yield lambda runner: kept.append(runner) or runner
    for runner in kept:
        runner.close()


def same_in_another(make: Callable[[], ModelRunner], keep: Callable[[ModelRunner], ModelRunner], cut: int) -> None:
    """`cut`: tokens that are kept of what was put back."""
    first, other = keep(make()), keep(make())
    assert first.saving == other.saving and not first.saving.why_not
    fill(first, 0, TEXT[:LENGTH])
    state = joined(first.export(0))
    fill(other, 1, TEXT[40:80])
    assert other.restore(2, state, LENGTH)
    assert other.trim(2, cut) == cut == first.trim(0, cut)
    assert goes_on(other, 2, cut, TEXT) == goes_on(first, 0, cut, TEXT)
    assert other.trim(1, 40) == 40
    assert joined(other.export(1))


# llama.cpp


def llama(path: Path, **options: object) -> Callable[[], LlamaScorer]:
    return lambda: LlamaScorer(path, context=CONTEXT, parallel=3, **options)


@pytest.mark.parametrize("cut", [LENGTH, 50])
def test_streams(tmp_path: Path, keep: Callable, cut: int) -> None:
    make = llama(write_gguf(tmp_path / "tiny.gguf"))
    same_in_another(make, keep, cut)
    assert not keep(make()).saving.entire


@pytest.mark.parametrize("full", [True, False])
def test_windows_go_on_from_their_end(tmp_path: Path, keep: Callable, full: bool) -> None:
    make = llama(write_family(tmp_path / "tiny.gguf", "gemma3"), swa_full=full)
    same_in_another(make, keep, LENGTH)
    assert keep(make()).saving.entire


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_of_other_families(tmp_path: Path, keep: Callable, name: str) -> None:
    make = llama(write_converted(tmp_path / "tiny.gguf", name))
    same_in_another(make, keep, LENGTH)
    assert keep(make()).saving.entire


def test_compressed_keys_and_values(tmp_path: Path, keep: Callable) -> None:
    same_in_another(llama(write_converted(tmp_path / "tiny.gguf", "deepseek-v2")), keep, 50)


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_states_go_on_from_their_end(tmp_path: Path, keep: Callable, name: str) -> None:
    make = llama(write_converted(tmp_path / "tiny.gguf", name))
    same_in_another(make, keep, LENGTH)
    assert keep(make()).saving.entire


def test_what_is_offloaded_is_not_copied(tmp_path: Path, keep: Callable) -> None:
    runner = keep(llama(write_gguf(tmp_path / "tiny.gguf"))())
    fill(runner, 0, TEXT[:LENGTH])
    runner.offload(0)
    (piece,) = runner.export(0)
    assert np.shares_memory(np.frombuffer(piece, np.uint8), np.frombuffer(runner._kv._offloaded[0], np.uint8))
    data = bytes(piece)
    runner.trim(0, 0)
    fill(runner, 0, TEXT[5:80])
    assert bytes(piece) == data, "it stays as it is, whatever becomes of the slot"


def test_an_empty_slot_holds_nothing(tmp_path: Path, keep: Callable) -> None:
    for runner in (llama(write_gguf(tmp_path / "tiny.gguf"))(), MlxScorer(write_folder(tmp_path / "m", "plain"))):
        assert keep(runner).export(0) is None


def test_the_deterministic_pool(tmp_path: Path, keep: Callable) -> None:
    from nitro.engines.backends.llama.runner import LlamaRunner

    spec = EngineSpec("llama", str(write_gguf(tmp_path / "tiny.gguf")), context=CONTEXT, parallel=2, deterministic=True)
    same_in_another(lambda: LlamaRunner(spec), keep, 64)


def test_more_than_there_is_room_for_leaves_the_slot_empty(tmp_path: Path, keep: Callable) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    large, small = keep(LlamaScorer(path, context=512)), keep(LlamaScorer(path, context=256))
    fill(large, 0, TEXT[:100] * 4)
    assert not small.restore(0, joined(large.export(0)), 400)
    assert small.export(0) is None
    fill(small, 0, TEXT[:50])


@pytest.mark.parametrize("options", [{"cache_type_k": "q8_0"}, {"rope_freq_base": 500.0}, {"flash_attn": "off"}])
def test_what_an_option_changes_is_not_the_same_identity(tmp_path: Path, keep: Callable, options: dict) -> None:
    """llama.cpp takes the states of some of these without a word."""
    from nitro.engines.backends.llama.runner import LlamaRunner
    from nitro.engines.prefix_files import identity

    spec = EngineSpec("llama", str(write_gguf(tmp_path / "tiny.gguf", width=128)), context=CONTEXT, parallel=2)
    other = replace(spec, **options)
    found = [identity.of(each, keep(LlamaRunner(each)).saving.parts, "w") for each in (spec, other)]
    assert found[0] != found[1]


def test_another_number_of_streams_is_another_identity(tmp_path: Path, keep: Callable) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    runners = [keep(LlamaScorer(path, context=CONTEXT, parallel=parallel)) for parallel in (2, 3)]
    assert runners[0].saving.parts != runners[1].saving.parts


def test_long_rotary_factors_depend_on_the_context(tmp_path: Path, keep: Callable) -> None:
    path = write_family(tmp_path / "tiny.gguf", "phi3, long")
    assert "phi3, long" in FAMILIES
    runners = [keep(LlamaScorer(path, context=context, parallel=2)) for context in (64, 300)]
    assert runners[0].saving.parts != runners[1].saving.parts


# MLX


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_cache(tmp_path: Path, keep: Callable, kind: str) -> None:
    folder = write_folder(tmp_path / "model", kind)
    runner = MlxScorer(folder, context=CONTEXT, parallel=4)
    entire = keep(runner).saving.entire
    same_in_another(lambda: MlxScorer(folder, context=CONTEXT, parallel=4), keep, LENGTH if entire else 50)


def test_a_slot_that_decodes_with_others(tmp_path: Path, keep: Callable) -> None:
    """Its cache is in a batch, one token ahead."""
    folder = write_folder(tmp_path / "model", "plain")
    runner, other = (keep(MlxScorer(folder, context=CONTEXT, parallel=4)) for _ in range(2))
    for step in range(4):
        length = 40 + step
        runner.submit(
            [
                Chunk(slot, slot, TEXT[slot : slot + length], length - 1 if step else 0, length, GREEDY)
                for slot in (0, 1)
            ]
        )
        runner.collect()
    state = joined(runner.export(1))
    assert other.restore(0, state, 43)
    assert goes_on(other, 0, 43, TEXT[1:60]) == goes_on(runner, 1, 43, TEXT[1:60])


def test_bfloat16_comes_back(tmp_path: Path, keep: Callable) -> None:
    import mlx.core as mx
    from mlx_lm.models.cache import KVCache

    from nitro.engines.backends.mlx import saved_caches

    class Network:
        layers = (1, 2)

    caches = [KVCache(), KVCache()]
    for cache in caches:
        cache.update_and_fetch(*(mx.random.normal((1, 2, 5, 8)).astype(mx.bfloat16) for _ in range(2)))
    back = saved_caches.unpack(Network, joined(saved_caches.pack(caches)), 5)
    for before, after in zip(caches, back, strict=True):
        assert after.keys.dtype == mx.bfloat16 and after.offset == 5
        assert mx.array_equal(before.keys[..., :5, :], after.keys) and mx.array_equal(
            before.values[..., :5, :], after.values
        )
    assert saved_caches.unpack(Network, joined(saved_caches.pack(caches)), 6) is None, "of another length"
