"""Models that see, on both engines and beside transformers: Qwen2-VL (M-RoPE), Gemma 3 (rows that all see each other)
and SmolVLM (SigLIP, in squares). One that hears: Qwen2-Audio. Tiny and random, converted by llama.cpp."""

import io
import json
import subprocess
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import vocabulary

from bench import limits
from nitro.convert import environments, llama_cpp_converter
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.media import Media
from nitro.engines.media_encoder import EncodedRun
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.media_table import Marks, MediaTable
from nitro.engines.types import EngineSpec, SamplingParams
from nitro.gguf import tokenizer
from nitro.gguf.header import Header

pytestmark = pytest.mark.convert

NAMES = {
    **{3: "<|vision_start|>", 4: "<|vision_end|>", 5: "<|image_pad|>", 6: "\n\n"},
    **{11: "<start_of_image>", 12: "<end_of_image>", 13: "<image_soft_token>"},
    **{7: "<|audio_bos|>", 8: "<|audio_eos|>", 9: "<|AUDIO|>"},
    **{10: "<row_1_col_2>", 14: "<fake_token_around_image>", 15: "<global-img>", 16: "<row_1_col_1>"},
}
SIZES = {"qwen2vl": (168, 112), "gemma3": (224, 224), "smolvlm": (56, 112)}  # height, width
HEARING = "qwen2audio"
MEDIA = 2  # in a prompt
# Of one of 30 seconds llama.cpp makes a second, silent piece.
RATE, SECONDS = 16000, 29.9
ROUNDED = 0.003  # what an encoder makes of a sound, in its standard deviations: llama.cpp's convolutions are float16


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeing")
    words = dict(vocabulary())
    words["tokens"] = [NAMES.get(id, token) for id, token in enumerate(words["tokens"])]
    metadata = {f"tokenizer.ggml.{key}": value for key, value in words.items()}
    metadata |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    tokenizer.build(Header(folder, metadata, {})).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    random = np.random.default_rng(0)
    texts = {"before": random.integers(100, 1000, 9), "after": random.integers(100, 1000, 12)}
    media = {kind: _pictures(random, size) for kind, size in SIZES.items()}
    media[HEARING] = _sounds(random)
    np.savez(folder / "prompt.npz", **texts, **media, squares=_squares(media["smolvlm"]))
    scripts, converter = Path(__file__).parent / "media", llama_cpp_converter.folder(print)
    made_by, computed_by = (environments.python(name, print) for name in ("converter", "transformers"))
    subprocess.run([made_by, "-P", scripts / "make.py", converter, folder, *media], check=True, capture_output=True)
    # not by the converter's release, which places the patches of SmolVLM's squares wrongly
    subprocess.run([computed_by, "-P", scripts / "compute.py", folder, *media], check=True, capture_output=True)
    return folder


def _pictures(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Smooth ones of this size: uint8 [MEDIA, height, width, 3]."""
    coarse = random.integers(0, 256, (MEDIA, 7, 7, 3), np.uint8)
    smooth = [Image.fromarray(one).resize(size[::-1], Image.Resampling.BICUBIC) for one in coarse]
    return np.stack([np.asarray(one) for one in smooth])


def _squares(pictures: np.ndarray) -> np.ndarray:
    """By transformers' processor: float32 [MEDIA, squares, colours, 56, 56]."""
    processors = pytest.importorskip("transformers.models.smolvlm.image_processing_pil_smolvlm")
    edges = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    cut = processors.SmolVLMImageProcessorPil(
        **edges, do_image_splitting=True, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return np.stack([cut(Image.fromarray(one), return_tensors="np")["pixel_values"][0] for one in pictures])


def _sounds(random: np.random.Generator) -> np.ndarray:
    """Tones that come and go, and noise: int16 [MEDIA, samples]."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    loud = []
    for _ in range(MEDIA):
        tones = sum(np.sin(2 * np.pi * tone * time) for tone in random.uniform(80, 4000, 8))
        loud.append(tones * np.sin(np.pi * random.uniform(1, 4) * time) + random.normal(0, 0.3, time.size))
    return np.int16(np.stack(loud) / np.abs(loud).max() * 32000)


@pytest.mark.parametrize("kind", SIZES)
def test_as_transformers_computes_it(made: Path, kind: str) -> None:
    media = np.load(made / "prompt.npz")[kind]
    theirs = np.load(made / kind / "logits.npy")
    assert divergence(theirs, computed(made, kind, media)) < limits.SEEING.nats
    assert divergence(theirs, computed(made, kind, media[::-1])) > 10 * limits.SEEING.nats, limits.SEEING.fault
    assert divergence(theirs, computed_on_mlx(made, kind, media)) < limits.SEEING_ON_MLX.nats
    other = computed_on_mlx(made, kind, media[::-1])
    assert divergence(theirs, other) > 10 * limits.SEEING_ON_MLX.nats, limits.SEEING_ON_MLX.fault


@pytest.mark.parametrize("kind", SIZES)
def test_both_engines_compute_the_same(made: Path, kind: str) -> None:
    media = np.load(made / "prompt.npz")[kind]
    on_mlx = computed_on_mlx(made, kind, media)
    assert divergence(on_mlx, computed(made, kind, media)) < limits.SEEING.nats
    assert divergence(on_mlx, computed(made, kind, media[::-1])) > 10 * limits.SEEING.nats, limits.SEEING.fault


def test_a_sound_as_transformers_hears_it(made: Path) -> None:
    sounds = np.load(made / "prompt.npz")[HEARING]
    theirs = np.load(made / HEARING / "rows.npy")
    runner = opened(made, HEARING)
    _, runs = encoded(runner, sounds)
    runner.close()
    rows = np.stack([run.rows.values for run in runs.values()])
    assert np.abs(rows - theirs).max() < ROUNDED * theirs.std()
    theirs = np.load(made / HEARING / "logits.npy")
    assert divergence(theirs, computed(made, HEARING, sounds)) < limits.HEARING.nats
    assert divergence(theirs, computed(made, HEARING, sounds[::-1])) > 10 * limits.HEARING.nats, limits.HEARING.fault


def test_both_engines_hear_the_same(made: Path) -> None:
    """MLX hears the silence that llama.cpp fills 30 seconds up with only where it is in the file."""
    pytest.importorskip("miniaudio")
    sounds = np.load(made / "prompt.npz")[HEARING]
    whole = np.pad(sounds, ((0, 0), (0, 30 * RATE - sounds.shape[1])))
    theirs = np.load(made / HEARING / "logits.npy")
    on_mlx, other = (computed_on_mlx(made, HEARING, order) for order in (whole, whole[::-1]))
    assert divergence(theirs, on_mlx) < limits.HEARING_ON_MLX.nats
    assert divergence(theirs, other) > 10 * limits.HEARING_ON_MLX.nats, limits.HEARING_ON_MLX.fault
    assert divergence(on_mlx, computed(made, HEARING, sounds)) < limits.HEARING.nats


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Kullback–Leibler divergence of our next-token distributions from theirs: the mean, in nats."""
    assert theirs.shape == ours.shape
    shares, other = (
        logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in np.float64([theirs, ours])
    )
    return float((np.exp(shares) * (shares - other)).sum(axis=1).mean())


def computed_on_mlx(folder: Path, kind: str, media: np.ndarray) -> np.ndarray:
    """As `computed`, of transformers' folder."""
    pytest.importorskip("mlx.core")
    from seers import Seer

    prompt = np.load(folder / "prompt.npz")
    before, after = ([int(id) for id in prompt[name]] for name in ("before", "after"))
    runner = Seer(folder / kind, context=2048)
    assert runner.media, runner.info.media
    tokens = runner.read((before, *(file_of(medium).data for medium in media), after))
    logits = runner.logits(tokens, [len(tokens) - len(after) + 1, *[1] * (len(after) - 1)])
    runner.media_thread.shutdown()
    runner.close()
    return logits


def file_of(medium: np.ndarray) -> Media:
    """A picture or a sound, as a request brings it."""
    file = io.BytesIO()
    if medium.dtype == np.uint8:
        Image.fromarray(medium).save(file, "PNG")
        return Media.of("image", file.getvalue(), "image")
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, RATE, 0, "NONE", ""))
        written.writeframes(medium.astype("<i2").tobytes())
    return Media.of("audio", file.getvalue(), "sound")


def opened(folder: Path, kind: str) -> LlamaRunner:
    """The model and its projector on llama.cpp."""
    spec = EngineSpec(
        **{"engine": "llama", "model": str(folder / f"{kind}.gguf"), "mmproj": str(folder / f"{kind}-mmproj.gguf")},
        **{"context": 2048, "parallel": 1, "flash_attn": "off", "cache_type_k": "f32", "cache_type_v": "f32"},
    )
    return LlamaRunner(spec)


def encoded(runner: LlamaRunner, media: np.ndarray) -> tuple[list[int], dict[int, EncodedRun]]:
    """The ids of media, and their runs by id."""
    assert runner.media
    table, tokens, runs = MediaTable(), list[int](), dict[int, EncodedRun]()
    for medium in map(file_of, media):
        pieces = runner.media.pieces(medium)
        sources = [piece for piece in pieces if not isinstance(piece, list)]
        for part in table.learn(medium.digest, pieces):
            tokens += part.ids
            if not isinstance(part, Marks):
                runs[part.id] = part.encoded(runner.media.encode(sources.pop(0)))
    return tokens, runs


def computed(folder: Path, kind: str, media: np.ndarray) -> np.ndarray:
    """The logits after each token behind the media."""
    runner = opened(folder, kind)
    ids, runs = encoded(runner, media)
    prompt = np.load(folder / "prompt.npz")
    before, after = ([int(id) for id in prompt[name]] for name in ("before", "after"))
    tokens = before + ids + after
    first = len(tokens) - len(after) + 1
    rows = []
    for start, stop in pairwise([0, *range(first, len(tokens) + 1)]):
        runner.submit([Chunk(1, 0, tokens[:stop], start, stop, SamplingParams(temperature=0), media=runs)])
        runner.collect()
        rows.append(runner._logits(runner._tokens.last_row[0]).copy())
    runner.close()
    return np.stack(rows)
