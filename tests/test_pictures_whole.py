"""Pictures that are computed whole: of models with M-RoPE, where an image takes fewer positions than tokens, and of
those whose rows all see each other. Beside what libmtmd's own helper computes.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import gguf
import llama_cpp.llama_cpp as lib
import llama_cpp.mtmd_cpp as mtmd
import numpy as np
import pytest
from projectors import COLOURS, grid_of, picture, write_oracle
from tiny_models import HEADS, LAYERS, WIDTH, write_gguf

from nitro.engines.backends.llama.positions import Run, SlotPositions
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.media import Media
from nitro.engines.runner import Chunk, LoadError
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import MediaPrompt, Piece, encode_work
from nitro.engines.worker.preparation import Preparation

GREEDY = SamplingParams(temperature=0)
TOKENS = (301, 302, 303, 304, 305)
WINDOW = 24
EXACT = {"flash_attn": "off", "cache_type_k": "f32", "cache_type_v": "f32"}
HEAD = WIDTH // HEADS
ONES = np.ones(WIDTH, np.float32)


def _mrope(writer: gguf.GGUFWriter) -> None:
    writer.add_rope_dimension_sections([2, 3, 3, 0])


def _gemma(writer: gguf.GGUFWriter) -> None:
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_sliding_window(WINDOW)


def _gemma_norms() -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for layer in range(LAYERS):
        found |= {f"blk.{layer}.{name}.weight": ONES for name in ("post_attention_norm", "post_ffw_norm")}
        found |= {f"blk.{layer}.{name}.weight": ONES[:HEAD] for name in ("attn_q_norm", "attn_k_norm")}
    return found


MARKS = {11: "<start_of_image>", 12: "<end_of_image>"}


@pytest.fixture(scope="module", params=["qwen2vl", "gemma3"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and its projector."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "qwen2vl":
        model = write_gguf(folder / "tiny.gguf", architecture="qwen2vl", also=_mrope)
        return model, write_oracle(model, folder / "mmproj.gguf", TOKENS)
    model = write_gguf(folder / "tiny.gguf", architecture="gemma3", also=_gemma, names=MARKS, **_gemma_norms())
    return model, write_oracle(model, folder / "mmproj.gguf", TOKENS, scale=WIDTH**0.5, pools=4)


@pytest.fixture(scope="module")
def runner(files: tuple[Path, Path]) -> Iterator[LlamaRunner]:
    model, projector = files
    runner = LlamaRunner(EngineSpec("llama", str(model), context=256, parallel=4, mmproj=str(projector), **EXACT))
    yield runner
    runner.close()


@pytest.fixture
def preparation(runner: LlamaRunner) -> Preparation:
    for slot in range(runner.info.slots):
        runner.trim(slot, 0)
    return Preparation(runner)


def medium(number: int) -> Media:
    """Of the first three colours, which both projectors know, and as large as both want it."""
    names = [*COLOURS][:3]
    grid = [[colour if colour in names else names[0] for colour in row] for row in grid_of(number)]
    return Media.of("image", picture(grid), f"image {number}")


def sequence(preparation: Preparation, *pieces: Piece) -> Sequence:
    """A prompt of texts and numbers of pictures."""
    media = [medium(number) for number in range(4)]
    work = encode_work([MediaPrompt(list(pieces))], GenerationParams(max_tokens=4, sampling=GREEDY), media=media)
    slices = preparation.slices([1], work.raw)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            return done.value.sequences[0]


def chunk(slot: int, of: Sequence, start: int = 0, stop: int | None = None) -> Chunk:
    stop = len(of.tokens) if stop is None else stop
    return Chunk(slot, slot, of.tokens, start, stop, GREEDY, media=of.media)


def compute(runner: LlamaRunner, *chunks: Chunk) -> np.ndarray:
    """The logits after the last one, which ends with text."""
    runner.submit(list(chunks))
    runner.collect()
    for computed in chunks:
        runner.free_sequence(computed.sequence_id)
    return runner._logits(runner._tokens.last_row[chunks[-1].slot]).copy()


def by_libmtmd(runner: LlamaRunner, *pieces: Piece) -> np.ndarray:
    """The logits after a prompt, as libmtmd's helper computes it in an empty context of its own."""
    assert runner.media
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 512
    parameters.type_k = parameters.type_v = lib.GGML_TYPE_F32
    parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.swa_full = True
    context = lib.llama_init_from_model(runner._model.pointer, parameters)
    chunks = mtmd.mtmd_input_chunks_init()
    bitmaps = [runner.media._picture(medium(piece).data) for piece in pieces if isinstance(piece, int)]
    marker = mtmd.mtmd_get_marker(runner.media._pointer)
    text = b"".join(piece.encode() if isinstance(piece, str) else marker for piece in pieces)
    given = mtmd.mtmd_input_text(text=text, text_len=len(text), add_special=False, parse_special=True)
    array = (ctypes.c_void_p * len(bitmaps))(*bitmaps)
    assert mtmd.mtmd_tokenize(runner.media._pointer, chunks, ctypes.byref(given), array, len(bitmaps)) == 0
    past = lib.llama_pos()
    assert not mtmd.mtmd_helper_eval_chunks(runner.media._pointer, context, chunks, 0, 0, 512, True, ctypes.byref(past))
    row = lib.llama_get_logits_ith(context, -1)
    logits = np.ctypeslib.as_array(row, (runner.info.vocabulary,)).copy()
    mtmd.mtmd_input_chunks_free(chunks)
    for bitmap in bitmaps:
        mtmd.mtmd_bitmap_free(bitmap)
    lib.llama_free(context)
    return logits


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() < 1e-4 * (other.max() - other.min()))


def test_as_libmtmd_computes_it(runner: LlamaRunner, preparation: Preparation) -> None:
    assert runner.info.media and runner.info.media.longest == 16
    one = sequence(preparation, "See ", 0, " and say.")
    assert near(compute(runner, chunk(0, one)), by_libmtmd(runner, "See ", 0, " and say."))
    two = sequence(preparation, "See ", 1, " or ", 0, " now.")
    assert near(compute(runner, chunk(1, two)), by_libmtmd(runner, "See ", 1, " or ", 0, " now."))
    assert not near(by_libmtmd(runner, "See ", 1, " and say."), by_libmtmd(runner, "See ", 0, " and say."))


def test_beside_others(runner: LlamaRunner, preparation: Preparation) -> None:
    """Texts, other pictures, and one that goes on."""
    expected = compute(runner, chunk(0, sequence(preparation, "See ", 0, " and say.")))
    runner.trim(0, 0)
    seen = sequence(preparation, "See ", 0, " and say.")
    other, text = sequence(preparation, 2, "?"), sequence(preparation, "First ", 1, " then.")
    end = text.tokens.index(min(text.tokens)) + 16
    runner.submit([chunk(1, text, 0, end)])
    assert runner.collect()[0].tokens == [], "it ends with a picture"
    assert near(compute(runner, chunk(2, other), chunk(1, text, end), chunk(0, seen)), expected)
    runner.trim(1, 0)
    assert near(compute(runner, chunk(1, text)), by_libmtmd(runner, "First ", 1, " then."))


@pytest.mark.parametrize("behind", [0, 2])
def test_cut_behind_it_copied_and_brought_back(runner: LlamaRunner, preparation: Preparation, behind: int) -> None:
    """Right behind the last picture, and some tokens on."""
    seen = sequence(preparation, "See ", 0, " or ", 1, " and say what you see.")
    expected = compute(runner, chunk(0, seen))
    cut = max(at for at, token in enumerate(seen.tokens) if token < 0) + 1 + behind
    assert runner.trim(0, cut) == cut
    assert near(compute(runner, chunk(0, seen, cut)), expected)
    assert runner.copy(0, 1, cut) == cut
    assert near(compute(runner, chunk(1, seen, cut)), expected)
    if runner.info.offload_tokens:  # else nobody does so
        runner.offload(1)
        runner.offload(0)
    assert runner.copy(1, 2, cut) == cut
    assert near(compute(runner, chunk(2, seen, cut)), expected)
    assert runner.trim(0, cut) == cut
    assert near(compute(runner, chunk(0, seen, cut)), expected)
    first = next(at for at, token in enumerate(seen.tokens) if token < 0)
    assert runner.trim(2, first) == first, "before the first picture"
    assert near(compute(runner, chunk(2, seen, first)), expected)


def test_it_is_never_cut_inside(runner: LlamaRunner, preparation: Preparation) -> None:
    seen = sequence(preparation, "See ", 0, " and say.")
    expected = compute(runner, chunk(0, seen))
    begin = next(at for at, token in enumerate(seen.tokens) if token < 0)
    assert runner.copy(0, 1, begin + 3) == 0
    assert runner.trim(0, begin + 3) == 0
    assert near(compute(runner, chunk(0, seen)), expected)


def test_cells_are_counted_as_tokens(runner: LlamaRunner, preparation: Preparation) -> None:
    """What an idle context gives back is not what an image is in, however few positions it has."""
    pieces: list[Piece] = [piece for number in range(12) for piece in (number % 4, "x ")]
    seen = sequence(preparation, *pieces, "End.")
    expected = compute(runner, chunk(0, seen))
    cut = len(seen.tokens) - 1
    runner.release_idle_memory()
    assert runner._context._used({}) >= len(seen.tokens)
    assert runner.trim(0, cut) == cut
    assert near(compute(runner, chunk(0, seen, cut)), expected)


def test_deterministic_needs_rows_that_can_be_apart(files: tuple[Path, Path]) -> None:
    model, projector = files
    spec = EngineSpec("llama", str(model), context=128, parallel=1, mmproj=str(projector), deterministic=True)
    if "gemma3" in str(model):
        with pytest.raises(LoadError, match="computed whole"):
            LlamaRunner(spec)
        return
    runner = LlamaRunner(spec)
    assert runner.info.media and runner.info.deterministic
    runner.close()


# The table of positions


def test_positions() -> None:
    places = SlotPositions()
    places.add(1, Run(3, 12, 4))
    places.add(1, Run(20, 6, 3))
    assert [places.position(1, length) for length in (0, 3, 15, 16, 20, 26, 27)] == [0, 3, 7, 8, 12, 15, 16]
    assert [places.tokens(1, end) for end in (0, 3, 4, 7, 8, 12, 13, 15, 16)] == [0, 3, 15, 15, 16, 20, 26, 26, 27]
    assert places.is_border(1, 3) and places.is_border(1, 15) and not places.is_border(1, 14)
    places.copy(1, 2, 15)
    assert places.position(2, 20) == 12 and places.position(2, 30) == 22
    places.cut(1, 3)
    assert places.position(1, 30) == 30 and not places.of(1)
    places.clear(2)
    assert places.position(2, 30) == 30
