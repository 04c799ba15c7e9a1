"""A projector beside its model: which one is found, what it refuses, and that nothing is handed to another program."""

import io
import struct
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projectors import grid_of, medium, picture, write_oracle
from tiny_models import write_gguf

from nitro.config import ServeConfig
from nitro.engines import pictures, sounds
from nitro.engines.backends.llama import projector
from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.media import Media
from nitro.engines.media_encoder import MediaRejected
from nitro.engines.options import EngineOptions
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.errors import StartError
from nitro.models import fit, model_source, projectors
from nitro.models.stored_model import StoredModel

GIB = 2**30
TOKENS = (301, 302, 303, 304, 305)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its projector beside it."""
    folder = tmp_path_factory.mktemp("seeing")
    write_oracle(write_gguf(folder / "tiny-F32.gguf"), folder / "mmproj-tiny-F16.gguf", TOKENS)
    return folder


@pytest.fixture(scope="module")
def runner(folder: Path) -> Iterator[LlamaRunner]:
    runner = LlamaRunner(spec(folder))
    yield runner
    runner.close()


def spec(folder: Path, model: str = "tiny-F32.gguf", **options: object) -> EngineSpec:
    options = {"mmproj": str(folder / "mmproj-tiny-F16.gguf"), **options}
    return EngineSpec("llama", str(folder / model), context=256, parallel=2, **options)


def image(data: bytes) -> Media:
    return Media.of("image", data, "image")


def file_of(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


# Which one


def test_it_is_found_beside_the_model(folder: Path) -> None:
    found = model_source.find(str(folder / "tiny-F32.gguf"), None, "auto")
    assert found.projector == str(folder / "mmproj-tiny-F16.gguf")
    config = ServeConfig(model=found.path)
    assert config.engine_spec(found.path, found.projector).projector == found.projector


def test_one_of_another_model_is_not(tmp_path: Path) -> None:
    for name in ("gemma-3-4b-Q4_K_M.gguf", "mmproj-qwen2-vl-F16.gguf"):
        (tmp_path / name).touch()
    assert projectors.beside(tmp_path / "gemma-3-4b-Q4_K_M.gguf") is None
    assert projectors.beside(tmp_path / "there-is-none.gguf") is None
    assert projectors.beside(tmp_path) is None


def test_one_that_was_found_and_does_not_fit_is_left_out(folder: Path, tmp_path: Path) -> None:
    """The model takes text only then. One that is named must be right."""
    wide = write_gguf(tmp_path / "wide.gguf", width=128)
    runner = LlamaRunner(spec(folder, str(wide), mmproj=None, projector=str(folder / "mmproj-tiny-F16.gguf")))
    assert runner.media is None and runner.info.media is None
    runner.close()
    with pytest.raises(LoadError, match=r"mmproj-tiny-F16.gguf is no projector \(mmproj\) for wide.gguf: .+"):
        LlamaRunner(spec(folder, str(wide)))


def test_off(folder: Path) -> None:
    runner = LlamaRunner(spec(folder, mmproj="off", projector=str(folder / "mmproj-tiny-F16.gguf")))
    assert runner.media is None
    runner.close()


def test_what_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="its architecture is llama"):
        LlamaRunner(spec(folder, mmproj=str(folder / "tiny-F32.gguf")))
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(LoadError, match=r"text\.gguf"):
        LlamaRunner(spec(folder, mmproj=str(tmp_path / "text.gguf")))
    with pytest.raises(StartError, match="no such file"):
        projectors.named(str(tmp_path / "missing.gguf"))
    assert projectors.named("off") == "off" and projectors.named(None) is None


def test_its_memory_is_counted(folder: Path) -> None:
    model = StoredModel(name="tiny", path=str(folder / "tiny-F32.gguf"), store="", format="gguf", size=1, created=0)
    alone = fit.estimate(model, EngineOptions(engine="llama"), 8 * GIB)
    path = folder / "mmproj-tiny-F16.gguf"
    named = fit.estimate(model, EngineOptions(engine="llama", mmproj=str(path)), 8 * GIB)
    assert named.weights - alone.weights == path.stat().st_size + projectors.BESIDE
    assert fit.estimate(model, EngineOptions(engine="llama", mmproj="off"), 8 * GIB) == alone


# What it takes


def test_pieces_of_a_picture(runner: LlamaRunner) -> None:
    assert runner.media and runner.info.media and runner.info.media.longest == 16
    (run,) = runner.media.pieces(medium(grid_of(0)))
    assert (run.tokens, run.positions, run.atomic) == (16, 16, False)
    rows = runner.media.encode(run)
    assert rows.values.shape == (16, 64) and rows.places is None and rows.causal
    assert rows.nbytes == 16 * 64 * 4


def test_what_is_no_picture(runner: LlamaRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libmtmd would start ffprobe for bytes that it does not know."""
    for program in ("ffprobe", "ffmpeg"):
        script = tmp_path / program
        script.write_text(f"#!/bin/sh\necho started >> {tmp_path}/started\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    whole = picture(grid_of(0))
    webp = file_of(Image.new("RGB", (64, 64)), "WEBP")
    bad = [b"", b"GIF89a", b"text named .png", whole[:60], b"\x89PNG\r\n\x1a\n" + bytes(90), webp[:40]]
    bad += [b"\x00\x00\x00\x18ftypmp42" + bytes(99), b"%!PS-Adobe-3.0 EPSF-3.0", b"\x1aE\xdf\xa3" + bytes(99)]
    assert runner.media
    for data in bad:
        with pytest.raises(MediaRejected):
            runner.media.pieces(image(data))
        with pytest.raises(MediaRejected):
            runner.media.pieces(Media.of("audio", data, "audio"))
    assert runner.media.pieces(image(webp))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 150), (150, 1), (2000, 16)])
def test_sizes(runner: LlamaRunner, size: tuple[int, int]) -> None:
    assert runner.media
    (run,) = runner.media.pieces(image(file_of(Image.new("RGB", size, "red"))))
    assert np.isfinite(runner.media.encode(run).values).all()


def test_sounds_that_llama_cpp_cannot_compute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "ABORTS", ("mlp",))
    runner = LlamaRunner(spec(folder))
    about = runner.info.media
    runner.close()
    assert about and about.image and not about.audio and "'mlp'" in about.why_not


def test_a_line_is_refused(runner: LlamaRunner) -> None:
    assert runner.media
    with pytest.raises(MediaRejected, match="1 × 300 pixels"):
        runner.media.pieces(image(file_of(Image.new("RGB", (1, 300)))))


def test_a_model_that_does_not_hear(runner: LlamaRunner) -> None:
    assert runner.media
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(struct.pack("<99h", *range(99)))
    assert sounds.is_sound(file.getvalue())
    with pytest.raises(MediaRejected):
        runner.media.pieces(Media.of("audio", file.getvalue(), "audio"))


# Pixels


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(pictures.read(data))


def test_a_picture_as_it_is_seen() -> None:
    red = Image.new("RGB", (3, 2), "red")
    assert (pixels(file_of(red)) == (255, 0, 0)).all()
    assert pixels(file_of(red)).shape == (2, 3, 3)
    assert (pixels(file_of(red.convert("P"), "GIF")) == (255, 0, 0)).all()


def test_a_picture_is_upright() -> None:
    turned = Image.new("RGB", (3, 2), "red")
    exif = turned.getexif()
    exif[274] = 6
    assert pixels(file_of(turned, "JPEG", exif=exif)).shape == (3, 2, 3)


def test_what_is_transparent_is_white() -> None:
    assert (pixels(file_of(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))) == 255).all()
    half = pixels(file_of(Image.new("RGBA", (2, 2), (255, 0, 0, 128))))
    assert (half == (255, 127, 127)).all()


def test_sixteen_bits() -> None:
    grey = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    assert (pixels(file_of(grey)) == 128).all()


def test_cmyk_and_frames() -> None:
    assert pixels(file_of(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "JPEG"))[0, 0, 0] > 240
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    animated = file_of(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert (pixels(animated) == (255, 0, 0)).all()


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    with pytest.raises(MediaRejected, match="20 × 20 pixels"):
        pictures.read(file_of(Image.new("1", (20, 20))))
