"""The llama.cpp runner by itself: KV cache, sampling, tokenizer, limits. With SmolLM2 and gemma3-270m."""

import math
from collections.abc import Iterator
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from llama_scorer import LlamaScorer

from nitro.engines.backends.llama import context, kv_cells, library
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.hardware.libraries import Device
from nitro.engines.runner import UNUSABLE_LOGITS, Chunk, LoadError, OutOfKV
from nitro.engines.types import EngineSpec, SamplingParams

GREEDY = SamplingParams(temperature=0)
TEXT = "The quick brown fox jumps over the lazy dog. " * 200


@pytest.fixture(scope="module")
def runner(smollm: Path) -> Iterator[LlamaRunner]:
    runner = LlamaRunner(EngineSpec("llama", str(smollm), context=1024, parallel=4))
    yield runner
    runner.close()


@pytest.fixture
def empty(runner: LlamaRunner) -> LlamaRunner:
    """The runner with every slot empty and no sampler."""
    for slot in range(runner.info.slots):
        runner.trim(slot, 0)
    for sequence_id in range(20):
        runner.free_sequence(sequence_id)
    return runner


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots share one pool of cells, as they do where not each can have a whole context."""
    monkeypatch.setattr(context, "has_streams", lambda *_: False)


def generate(
    runner: LlamaRunner, prompt: list[int], count: int, sampling: SamplingParams = GREEDY, id: int = 1
) -> list[int]:
    """`count` tokens of one sequence, alone in slot 0."""
    runner.trim(0, 0)
    tokens, start = prompt.copy(), 0
    for _ in range(count):
        runner.submit([Chunk(id, 0, tokens, start, len(tokens), sampling)])
        start = len(tokens)
        tokens += runner.collect()[0].tokens
    runner.free_sequence(id)
    return tokens[len(prompt) :]


def goes_on(runner: LlamaRunner, slot: int, prompt: list[int], count: int) -> list[int]:
    """`count` tokens from a slot that holds all of the prompt but its last token."""
    tokens, start = prompt.copy(), len(prompt) - 1
    for _ in range(count):
        runner.submit([Chunk(2 + slot, slot, tokens, start, len(tokens), GREEDY)])
        start = len(tokens)
        tokens += runner.collect()[0].tokens
    return tokens[len(prompt) :]


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to batch numerics: where the cache is wrong, gemma's logits are off by 6."""
    return float(np.abs(a - b).max()) < 1.5 and int(a.argmax()) == int(b.argmax())


class TestCache:
    def test_a_copy_continues_like_its_source(self, empty: LlamaRunner) -> None:
        tokens = empty.tokenizer.encode("The capital of France is the city of Paris, and that of Italy is")
        alone = generate(empty, tokens, 8)
        assert empty.copy(0, 3, len(tokens) - 1) == len(tokens) - 1
        assert goes_on(empty, 3, tokens, 8) == alone

    def test_a_copy_replaces_and_leaves_its_source(self, empty: LlamaRunner) -> None:
        tokens = empty.tokenizer.encode(TEXT)[:60]
        empty.submit([Chunk(1, 0, tokens, 0, 60, GREEDY), Chunk(2, 1, tokens[:20], 0, 20, GREEDY)])
        assert empty.copy(0, 1, 40) == 40
        assert empty.trim(1, 41) == 0, "it held no more than was copied"
        assert empty.trim(0, 60) == 60

    def test_a_offloaded_slot_takes_no_room_and_comes_back_as_it_was(self, empty: LlamaRunner) -> None:
        tokens = empty.tokenizer.encode("The capital of France is the city of Paris, and that of Italy is")
        alone = generate(empty, tokens, 8)
        empty.offload(0)
        assert lib.llama_memory_seq_pos_max(empty._context.memory, 0) == -1, "its cells are free"
        assert empty.copy(0, 3, len(tokens) - 1) == len(tokens) - 1
        assert empty.trim(0, len(tokens) - 1) == len(tokens) - 1
        assert [goes_on(empty, slot, tokens, 8) for slot in (0, 3)] == [alone, alone]

    def test_a_offloaded_slot_that_is_emptied_is_gone(self, empty: LlamaRunner) -> None:
        tokens = empty.tokenizer.encode(TEXT)[:60]
        for empty_it in (lambda: empty.trim(0, 0), empty.reset):
            empty.submit([Chunk(1, 0, tokens, 0, 60, GREEDY)])
            empty.offload(0)
            empty_it()
            assert empty.copy(0, 1, 1) == 0 and empty.trim(0, 1) == 0

    def test_a_offloaded_slot_that_finds_no_room_is_empty(self, shallow_smollm: Path, pool: None) -> None:
        runner = LlamaRunner(EngineSpec("llama", str(shallow_smollm), context=128, parallel=2))
        tokens = runner.tokenizer.encode(TEXT)[:100]
        runner.submit([Chunk(1, 0, tokens, 0, 100, GREEDY)])
        runner.offload(0)
        for slot in (1, 2):
            runner.submit([Chunk(slot, slot, tokens, 0, 100, GREEDY)])
        assert runner.trim(0, 100) == 0
        runner.submit([Chunk(3, 0, tokens, 0, 50, GREEDY)])
        assert runner.trim(0, 50) == 50
        runner.close()

    def test_results_come_in_the_order_of_the_batch(self, empty: LlamaRunner) -> None:
        """Decodes are computed last, wherever they stand."""
        prompts = [empty.tokenizer.encode(text) for text in ("One, two, three,", "Monday, Tuesday,", "A, B, C, D, E,")]
        alone = [generate(empty, prompt, 2) for prompt in prompts]
        empty.trim(0, 0)
        decoding = prompts[1] + alone[1][:1]
        empty.submit([Chunk(12, 2, decoding, 0, len(prompts[1]), GREEDY)])
        empty.collect()
        batch = [
            Chunk(10, 0, prompts[0], 0, len(prompts[0]), GREEDY),
            Chunk(12, 2, decoding, len(prompts[1]), len(decoding), GREEDY),
            Chunk(11, 1, prompts[2], 0, len(prompts[2]), GREEDY),
        ]
        empty.submit(batch)
        assert [result.tokens for result in empty.collect()] == [alone[0][:1], alone[1][1:], alone[2][:1]]

    def test_trim_beyond_what_is_held_is_refused(self, empty: LlamaRunner) -> None:
        tokens = empty.tokenizer.encode(TEXT)[:10]
        empty.submit([Chunk(1, 0, tokens, 0, 10, GREEDY)])
        assert empty.trim(0, 11) == 0
        assert empty.trim(0, 0) == 0
        assert empty.copy(0, 1, 5) == 0

    def test_out_of_kv_computes_nothing(self, shallow_smollm: Path, pool: None) -> None:
        """A pool of 2 × 128 tokens: three slots cannot have 100 each. The two stay usable."""
        runner = LlamaRunner(EngineSpec("llama", str(shallow_smollm), context=128, parallel=2))
        tokens = runner.tokenizer.encode(TEXT)[:100]
        assert runner.info.kv_tokens == 256
        for slot in range(2):
            runner.submit([Chunk(slot, slot, tokens, 0, 100, GREEDY)])
        with pytest.raises(OutOfKV):
            runner.submit([Chunk(9, 5, tokens, 0, 100, GREEDY)])
        assert runner.trim(5, 1) == 0
        assert [runner.trim(slot, 100) for slot in range(2)] == [100] * 2
        runner.trim(0, 0)
        runner.submit([Chunk(9, 5, tokens, 0, 100, GREEDY)])
        assert runner.trim(5, 100) == 100
        runner.close()

    def test_reset_empties_and_samplers_stay(self, empty: LlamaRunner) -> None:
        prompt = empty.tokenizer.encode("Once upon a time")
        hot = SamplingParams(temperature=1.5, seed=3)
        straight = generate(empty, prompt, 6, hot)
        empty.trim(0, 0)
        tokens = prompt.copy()
        for i in range(6):
            if i == 3:
                empty.reset()
                assert empty.trim(0, 1) == 0
            start = 0 if i in (0, 3) else len(tokens) - 1
            empty.submit([Chunk(1, 0, tokens, start, len(tokens), hot)])
            tokens += empty.collect()[0].tokens
        assert tokens[len(prompt) : len(prompt) + 3] == straight[:3]
        assert tokens[len(prompt) :] == straight, "the random numbers went on where they were"


LENGTH, CUT = 1300, 600


class TestSlidingWindow:
    """gemma3-270m sees 512 tokens back in five of its first six layers. After 1,300 tokens cut at 600, or copied up to
    there.

    With its full cache llama.cpp keeps every cell; otherwise the cells that left the window are used again.
    """

    def test_full_cache(self, shallow_gemma: Path) -> None:
        scorer = LlamaScorer(shallow_gemma, swa_full=True)
        tokens, fresh = prefilled(scorer, LENGTH)
        assert scorer.copy(0, 1, CUT) == CUT
        assert close(scorer.extend(1, tokens, CUT, CUT + 1)[0], fresh)
        assert scorer.trim(0, CUT) == CUT
        assert close(scorer.extend(0, tokens, CUT, CUT + 1)[0], fresh)
        scorer.close()

    def test_window_cache(self, shallow_gemma: Path) -> None:
        """One slot has some more cells than the window. llama.cpp says yes to the cut; the runner looks, and says 0."""
        scorer = LlamaScorer(shallow_gemma, slots=1, swa_full=False)
        tokens, fresh = prefilled(scorer, LENGTH)
        assert scorer.trim(0, CUT) == 0
        scorer.extend(0, tokens, 0, CUT)  # the slot is empty, as it said
        assert close(scorer.extend(0, tokens, CUT, CUT + 1)[0], fresh)
        scorer.extend(0, tokens, CUT + 1, LENGTH)
        assert lib.llama_memory_seq_rm(scorer._context.memory, 0, CUT, -1)
        assert not close(scorer.extend(0, tokens, CUT, CUT + 1)[0], fresh), "trusting the call would be wrong"
        scorer.close()

    def test_window_cache_of_two_slots(self, shallow_gemma: Path) -> None:
        """Cells for two windows: what is left of the first 600 tokens depends on how much came after them."""
        scorer = LlamaScorer(shallow_gemma, slots=2, swa_full=False)
        tokens, fresh = prefilled(scorer, LENGTH)
        assert scorer.copy(0, 1, CUT) == CUT, "nothing was used again yet"
        assert close(scorer.extend(1, tokens, CUT, CUT + 1)[0], fresh)
        scorer.trim(1, 0)
        scorer.extend(0, tokens, LENGTH, LENGTH + 500)
        assert scorer.copy(0, 1, CUT) == 0
        assert scorer.trim(1, 1) == 0, "the copy is empty"
        assert scorer.trim(0, LENGTH + 500) == LENGTH + 500, "the source stays"
        scorer.close()

    def test_a_slot_whose_masked_cells_are_used_again_goes_on(
        self, shallow_gemma: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next token sees 511 back. What is further goes to the other slot, in a cache that does not grow."""
        monkeypatch.setattr(context, "FIRST_CELLS", 4096)
        scorer = LlamaScorer(shallow_gemma, context=4096, slots=2, swa_full=False)
        tokens, _ = prefilled(scorer, LENGTH)
        for start in range(0, LENGTH, 100):
            scorer.extend(1, tokens, start, start + 100)
        assert lib.llama_memory_seq_pos_min(scorer._context.memory, 0) == LENGTH - 512 + 1
        assert scorer.trim(0, LENGTH) == LENGTH
        scorer.close()

    def test_a_full_cache_is_not_offloaded(self, shallow_gemma: Path) -> None:
        """llama.cpp saves of it what is in the window only: it could not be cut afterwards."""
        scorer = LlamaScorer(shallow_gemma, swa_full=True, parallel=2)
        prefilled(scorer, LENGTH)
        assert scorer.info.can_truncate and scorer.info.offload_tokens == 0
        state = kv_cells.save(scorer._context.pointer, 0)
        assert kv_cells.restore(scorer._context.pointer, 0, state)
        assert scorer.trim(0, CUT) == 0, "if it could, it might be offloaded"
        scorer.close()


def prefilled(scorer: LlamaScorer, length: int) -> tuple[list[int], np.ndarray]:
    """A text whose first `length` tokens slot 0 holds, and the logits at CUT after a prefill of what is before it."""
    text = " ".join(f"{i} sheep jumped over fence number {i * 7 % 13}." for i in range(250))
    tokens = scorer.tokenizer.encode(text)
    assert len(tokens) >= length + 500
    scorer.extend(0, tokens, 0, CUT)
    fresh = scorer.extend(0, tokens, CUT, CUT + 1)[0]
    for start in range(CUT + 1, length, 512):
        scorer.extend(0, tokens, start, min(start + 512, length))
    return tokens, fresh


class TestSampling:
    PROMPT = "Once upon a time there was"

    def sample(self, runner: LlamaRunner, count: int = 12, **options) -> list[int]:
        return generate(runner, runner.tokenizer.encode(self.PROMPT), count, SamplingParams(**options))

    def test_seeds(self, empty: LlamaRunner) -> None:
        one, again, other = (self.sample(empty, temperature=1.0, seed=seed) for seed in (1, 1, 2))
        assert one == again != other

    @pytest.mark.parametrize("bad", [math.nan, -math.inf])
    @pytest.mark.parametrize(
        "sampling", [GREEDY, SamplingParams(), SamplingParams(top_k=40), SamplingParams(top_p=0.9)]
    )
    def test_unusable_logits_fail_their_sequence_alone(
        self, empty: LlamaRunner, monkeypatch: pytest.MonkeyPatch, bad: float, sampling: SamplingParams
    ) -> None:
        """Its slot is no prefix for anyone; its neighbour has its token."""
        prompt = empty.tokenizer.encode(self.PROMPT)
        known = empty._logits
        bad_slot = 1

        def logits(row: int) -> np.ndarray:
            return (
                np.full(empty.info.vocabulary, bad, np.float32)
                if row == empty._tokens.last_row[bad_slot]
                else known(row)
            )

        monkeypatch.setattr(empty, "_logits", logits)
        empty.submit([Chunk(slot, slot, prompt, 0, len(prompt), sampling) for slot in (0, bad_slot)])
        good, failed = empty.collect()
        assert good.error is None and len(good.tokens) == 1
        assert failed.tokens == [] and failed.error == UNUSABLE_LOGITS and failed.param is None
        assert empty.trim(bad_slot, len(prompt)) == 0 and empty.trim(0, len(prompt)) == len(prompt)

    def test_a_draft_whose_check_has_unusable_logits_fails(
        self, empty: LlamaRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompt = empty.tokenizer.encode(self.PROMPT)
        guess = generate(empty, prompt, 1)
        known = empty._logits

        def logits(row: int) -> np.ndarray:
            return (
                known(row) if row == empty._tokens.last_row[0] else np.full(empty.info.vocabulary, np.nan, np.float32)
            )

        monkeypatch.setattr(empty, "_logits", logits)
        empty.trim(0, 0)
        empty.submit([Chunk(1, 0, prompt, 0, len(prompt), GREEDY, draft=guess)])
        assert empty.collect()[0].error == UNUSABLE_LOGITS

    def test_narrow_filters_are_greedy(self, empty: LlamaRunner) -> None:
        best = self.sample(empty, temperature=0)
        for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}):
            assert self.sample(empty, temperature=1.0, seed=5, **narrow) == best

    def test_bias_forces_and_bans(self, empty: LlamaRunner) -> None:
        (token,) = empty.tokenizer.encode(" Paris")
        assert self.sample(empty, 3, temperature=0, logit_bias={token: 100.0}) == [token] * 3
        first = self.sample(empty, 1, temperature=0)[0]
        assert self.sample(empty, 1, temperature=0, logit_bias={first: -math.inf})[0] != first

    def test_penalties_see_the_prompt_and_the_answer(self, empty: LlamaRunner) -> None:
        """A repeated sentence goes on; penalties forbid its words, and then what was answered."""
        prompt = empty.tokenizer.encode("The quick brown fox jumps over the lazy dog. " * 5 + "The quick brown")

        def first(**options) -> int:
            return generate(empty, prompt, 1, SamplingParams(temperature=0, **options))[0]

        (fox,) = empty.tokenizer.encode(" fox")
        assert first() == fox
        for penalty in ({"frequency_penalty": 2.0}, {"presence_penalty": 2.0, "frequency_penalty": 2.0}):
            assert first(**penalty) != fox
        assert first(repetition_penalty=20.0) != fox
        assert first(repetition_penalty=20.0, repeat_last_n=0) == fox, "no window"
        assert first(repetition_penalty=20.0, repeat_last_n=3) == fox, "the last fox is further back"
        answer = generate(empty, prompt, 8, SamplingParams(temperature=0, repetition_penalty=1e4, repeat_last_n=-1))
        assert len(set(answer)) == 8 and not set(answer) & set(prompt)

    def test_dry(self, empty: LlamaRunner) -> None:
        """A repeated sentence goes on, unless that is penalised: within its window, up to a breaker."""
        prompt = empty.tokenizer.encode("The quick brown fox jumps over the lazy dog. " * 5 + "The quick brown")

        def first(**options) -> int:
            return generate(empty, prompt, 1, SamplingParams(temperature=0, dry_multiplier=20.0, **options))[0]

        (fox,) = empty.tokenizer.encode(" fox")
        assert first() != fox
        for off in (
            {"dry_allowed_length": 100},
            {"dry_penalty_last_n": 5},
            {"dry_penalty_last_n": 0},
            {"dry_sequence_breakers": ("brown",)},
        ):
            assert first(**off) == fox, off
        sampling = SamplingParams(temperature=0, dry_multiplier=20.0)
        answers = [generate(empty, prompt, 12, sampling) for _ in range(2)]
        assert answers[0] == answers[1], "a sequence is penalised for its own tokens only"

    @pytest.mark.parametrize("version", [1, 2])
    def test_mirostat(self, empty: LlamaRunner, version: int) -> None:
        best = self.sample(empty, temperature=0)
        hot = {"temperature": 1.0, "mirostat": version}
        assert self.sample(empty, **hot, mirostat_tau=0.001, seed=1) == best, "no surprise is allowed"
        assert self.sample(empty, temperature=0, mirostat=version) == best
        one, again, other = (self.sample(empty, **hot, seed=seed) for seed in (1, 1, 2))
        assert one == again != other

    def test_mirostat_draws_from_what_is_possible(self, empty: LlamaRunner) -> None:
        (token,) = empty.tokenizer.encode(" Paris")
        for version in (1, 2):
            banned = {t: -math.inf for t in range(empty.info.vocabulary) if t != token}
            assert self.sample(empty, 3, mirostat=version, logit_bias=banned) == [token] * 3

    def test_rows_of_a_batch_have_their_own_sampling(self, empty: LlamaRunner) -> None:
        prompt = empty.tokenizer.encode(self.PROMPT)
        (token,) = empty.tokenizer.encode(" Paris")
        kinds = [
            GREEDY,
            SamplingParams(temperature=0, logit_bias={token: 100.0}),
            SamplingParams(temperature=1.0, seed=9),
        ]
        empty.submit([Chunk(i, i, prompt, 0, len(prompt), kind) for i, kind in enumerate(kinds)])
        together = [result.tokens[0] for result in empty.collect()]
        assert together[0] == generate(empty, prompt, 1, id=7)[0] and together[1] == token

    def test_numbers_at_the_edge(self, empty: LlamaRunner) -> None:
        """A window as long as an int can say is no reason to allocate it; next to no temperature is greedy."""
        best = self.sample(empty, 6, temperature=0)
        assert self.sample(empty, 6, temperature=0, presence_penalty=1e-9, repeat_last_n=2**31 - 1) == best
        for temperature in (1e-7, 1e-30, 1e-38, 1e-44):
            assert self.sample(empty, 6, temperature=temperature) == best

    def test_only_the_end_of_a_sequence_samples(self, empty: LlamaRunner) -> None:
        prompt = empty.tokenizer.encode(self.PROMPT)
        empty.submit([Chunk(1, 0, prompt, 0, 3, GREEDY), Chunk(2, 1, prompt, 0, len(prompt), GREEDY)])
        first, second = empty.collect()
        assert (first.tokens, len(second.tokens)) == ([], 1)


class TestTokenizer:
    def test_control_tokens_are_parsed_and_no_bos_is_added(self, runner: LlamaRunner) -> None:
        assert runner.tokenizer.encode("<|im_start|>user") == [1, *runner.tokenizer.encode("user")]
        assert runner.tokenizer.encode("") == []

    @pytest.mark.parametrize(
        "text", ["Hello, world!", "Příliš žluťoučký kůň", "你好，世界", "👩‍👩‍👧‍👦 🇨🇿", "a\0b", "  x\n\n\ty "]
    )
    def test_pieces_give_the_text_back(self, runner: LlamaRunner, text: str) -> None:
        tokens = runner.tokenizer.encode(text)
        assert b"".join(map(runner.tokenizer.token_bytes, tokens)).decode() == text

    def test_the_ends_are_those_of_the_whole_vocabulary(self, runner: LlamaRunner) -> None:
        vocab = runner._model.vocab
        assert runner._model.log.ends() is not None
        assert runner.info.eog == {
            token for token in range(runner.info.vocabulary) if lib.llama_vocab_is_eog(vocab, token)
        }

    def test_control_tokens_have_no_text(self, runner: LlamaRunner) -> None:
        assert [runner.tokenizer.token_bytes(token) for token in runner.info.eog] == [b""] * len(runner.info.eog)
        assert runner.tokenizer.text(2) == "<|im_end|>" and 2 in runner.info.eog


class TestLoading:
    def test_info(self, runner: LlamaRunner) -> None:
        info = runner.info
        assert (info.context, info.parallel, info.trained_context) == (1024, 4, 8192)
        assert info.kv_tokens == 4096 and info.slots >= 4
        assert info.kv_bytes == 4096 * 30 * 2 * 3 * 64 * 2  # tokens, layers, keys and values, heads, head size, float16
        assert "im_start" in info.template
        assert "CPU" in info.layers and "0.3.36" in info.engine

    @pytest.mark.parametrize(
        ("placed", "tile", "offloads", "at_a_time"), [(None, 64, True, 256), ((31, 31), 0, False, 512)]
    )
    def test_only_the_cpu_has_tiles_and_offloads(
        self,
        smollm: Path,
        monkeypatch: pytest.MonkeyPatch,
        placed: tuple[int, int] | None,
        tile: int,
        offloads: bool,
        at_a_time: int,
    ) -> None:
        device = Device("NVIDIA L4", 23 * 2**30, is_gpu=placed is not None)
        monkeypatch.setattr(library, "devices", lambda: [device])
        monkeypatch.setattr(library.Log, "offloaded", lambda _: placed)
        runner = LlamaRunner(EngineSpec("llama", str(smollm), context=1024, parallel=1))
        try:
            info = runner.info
            assert (info.attention_tile_rows, info.offload_tokens > 0, lib.llama_n_ubatch(runner._context.pointer)) == (
                tile,
                offloads,
                at_a_time,
            )
        finally:
            runner.close()

    @pytest.mark.parametrize(
        ("changed", "rows"),
        [
            ({}, 128),  # 9 heads and 2 threads
            ({"n_threads_batch": 1}, 64),
            ({"n_ubatch": 64}, 64),
            ({"type_k": lib.GGML_TYPE_F32, "type_v": lib.GGML_TYPE_F32}, 128),
            ({"type_k": lib.GGML_TYPE_Q8_0, "type_v": lib.GGML_TYPE_Q8_0}, 64),  # computed row by row
            ({"type_v": lib.GGML_TYPE_F32}, 64),
            ({"flash_attn_type": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED}, 64),
        ],
    )
    def test_prompts_are_computed_in_rows_that_attention_divides_well(
        self, runner: LlamaRunner, changed: dict[str, int], rows: int
    ) -> None:
        parameters = lib.llama_context_params.from_buffer_copy(runner._context.parameters)
        for name, value in {"n_threads_batch": 2, **changed}.items():
            setattr(parameters, name, value)
        assert context.prompt_rows(runner._model, parameters) == rows

    def test_what_cannot_be_loaded(self, tmp_path: Path, smollm: Path) -> None:
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(smollm.read_bytes()[:1_000_000])
        with pytest.raises(
            LoadError, match=r"broken\.gguf is not a GGUF file, or is damaged \(it ends within its header\)\."
        ):
            LlamaRunner(EngineSpec("llama", str(broken)))

    def test_an_absurd_context(self, smollm: Path) -> None:
        with pytest.raises(LoadError, match=r"--ctx 2000000000 needs .* MiB"):
            LlamaRunner(EngineSpec("llama", str(smollm), context=2_000_000_000))
