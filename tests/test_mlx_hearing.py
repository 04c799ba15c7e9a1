"""Sounds on MLX: files, windows of a tower, folders, and a model that hears, served. What it computes is compared with
transformers in test_mlx_vision.py, as of models that see."""

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import openai
import pytest
import tiny_vision
from mlx import nn
from mlx.utils import tree_flatten
from pictures import flac, image_part, mp3, picture, sound_part
from running import RunningServer
from safetensors.numpy import load_file, save_file
from seers import CLOSE, Seer
from test_bad_media import CORPUS, LIMITS
from tiny_vision import RATE, wav, wave_file

from nitro.config import ServeConfig
from nitro.engines import sounds
from nitro.engines.backends.mlx.towers import families, loading
from nitro.engines.media import SLACK, Media
from nitro.engines.media_encoder import MediaRejected, MediaRun
from nitro.engines.runner import LoadError
from nitro.errors import ApiError
from nitro.service.media.checks import checked
from nitro.service.media.kept import KeptFiles
from nitro.service.media.sources import MediaSource

pytest.importorskip("miniaudio")  # not everywhere, see pyproject.toml

KIND = "qwen2_audio"
RECORD = tiny_vision.record()[KIND]
ROWS = tiny_vision.WINDOW * 25  # of a whole window: one for 40 ms
# 50 ms of a tone of 500 Hz at 16 kHz, whose values are divisible by 64; by libFLAC
FLAC = base64.b64decode(
    "ZkxhQ4AAACIQABAAAADxAADxA+gA8AAAAyBMTwfVVYZgKfxNMug+GqFW//h1CAADH5VDBAAGLU+xgCAE5lM5oZMmTJkpzKZzQyZMmTJTmUzmhkyZMmSnMpnN"
    "DJkyZMlOZTOaGTJkyZKcymc0MmTJkyU5lM5oZMmTJkpzKZzQyZMmTJTmUzlJkyZMmSnMpnNDJkyZMlOZTOUmTJkyZKcymc0MmTJkyU5lM5SZMmTJkpzKZzQy"
    "ZMmTJTmUzlJkyZMmSnMpnNDJkyZMlOZTOaGTJkyYc5lM5oZMmTJkpzKZzQyZMmTJTmUzmhkyZMmSnMpnNDJkyZMOcymc0MmTJkyU5lM5oZMmTJkpzKZzQyZM"
    "mTJTmUzmhkyZMmAIiA=="
)
# What the Hub's Qwen2-Audio-7B-Instruct says of its text, and no more
HUB_TEXT = {"model_type": "qwen2", "intermediate_size": 11008, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5}
HUB_TEXT |= {"rope_theta": 10000, "sliding_window": 32768, "use_mrope": False, "vocab_size": 156032}


def sound(data: bytes, seconds: float = 0.0) -> Media:
    return Media("audio", data, b"", "sound", seconds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.write(tmp_path_factory.mktemp("hearing"), KIND)


@pytest.fixture
def load(folder: Path) -> Iterator[Callable[..., Seer]]:
    runners = []

    def of(place: Path = folder) -> Seer:
        runners.append(Seer(place))
        return runners[-1]

    yield of
    for runner in runners:
        runner.media_thread.shutdown()
        runner.close()


def made() -> Any:
    """The network itself, its weights as they are."""
    opened, _ = loading.find(RECORD["config"], set(RECORD["shapes"]))
    assert opened
    config = {**RECORD["config"], **opened.settings}
    model_class, configuration = opened.classes(config)
    network = model_class(configuration.from_dict(config))
    weights = {name: mx.array(array) for name, array in tiny_vision.weights(RECORD["shapes"]).items()}
    network.load_weights(list(network.sanitize(weights).items()))
    return network


def is_right(runner: Seer, close: float = CLOSE) -> bool:
    """Whether it computes what transformers does."""
    tokens = runner.read(tiny_vision.CASES[0])
    return bool(np.abs(runner.logits(tokens, [len(tokens)])[0] - RECORD["cases"][0]["logits"]).max() < close)


# Files


def test_samples_are_those_of_the_file() -> None:
    values = np.arange(-32768, 32768, 13, np.int16)
    assert np.array_equal(sounds.read(sound(wave_file(values)), RATE), values / np.float32(2**15))
    heard = sounds.read(sound(FLAC), RATE) * 2**15
    tone = 8000 * np.sin(2 * np.pi * 500 * np.arange(800) / RATE)
    assert np.abs(heard + 32 - tone).max() < 33 and not (heard % 64).any()
    silent = sounds.read(sound(mp3(8)), RATE)
    assert abs(len(silent) - 8 * 1152 * RATE / 44100) < 1200 and not silent.any()


def test_channels_and_rates_become_what_the_tower_hears() -> None:
    time = np.arange(44100) / 44100
    left, right = (np.sin(2 * np.pi * tone * time) for tone in (440, 880))
    heard = sounds.read(sound(wave_file(np.int16(np.stack([left, right], 1) * 30000), 44100)), RATE)
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(len(heard) - RATE) < 10
    assert set(np.argsort(spectrum)[-2:].tolist()) == {440, 880}
    assert np.isclose(np.abs(heard).max(), np.abs(left + right).max() / 2 * 30000 / 2**15, atol=0.01)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no sound at all",
        b"OggS" + bytes(99),
        wav(1)[:40],
        wav(1)[:44],
        b"RIFF\0\0\0\0WAVE",
        flac(),
        b"ID3" + bytes(99),
    ],
)
def test_files_that_cannot_be_heard(data: bytes) -> None:
    with pytest.raises(MediaRejected):
        sounds.read(sound(data), RATE)


def test_the_corpus_is_refused_or_heard() -> None:
    """Of damaged sounds those in whose header nothing shows: others get to no engine."""
    fates: Counter[str] = Counter()
    for _, kind, data in CORPUS:
        try:
            (medium,) = checked([MediaSource(kind=kind, part="p", field="f", data=data)], LIMITS, {}, KeptFiles())
        except ApiError:
            continue
        if medium.kind == "audio":
            fates[_fate(medium)] += 1
    assert fates["heard"] > 10 and fates["refused"] > 10, fates


def _fate(medium: Media) -> str:
    try:
        return "heard" if len(sounds.read(medium, RATE)) <= (medium.seconds + SLACK) * RATE else "longer"
    except MediaRejected:
        return "refused"


def test_samples_that_are_no_numbers(load: Callable[..., Seer]) -> None:
    whole = wav(0.1)
    values = np.frombuffer(whole[44:], "<i2").astype("<f4")
    head = bytearray(whole[:44])
    head[20:22], head[34:36], head[32:34] = b"\3\0", b"\x20\0", b"\4\0"  # floats of 32 bits, four bytes a sample
    head[28:32], head[40:44] = (4 * RATE).to_bytes(4, "little"), values.nbytes.to_bytes(4, "little")
    assert np.array_equal(sounds.read(sound(bytes(head) + values.tobytes()), RATE), values)
    loud = bytes(head) + (values * 1e34).astype("<f4").tobytes()
    values[7] = np.nan
    with pytest.raises(MediaRejected, match="no numbers"):
        sounds.read(sound(bytes(head) + values.tobytes()), RATE)
    media = load().media
    assert media
    run = next(piece for piece in media.pieces(sound(loud)) if isinstance(piece, MediaRun))
    with pytest.raises(MediaRejected, match="too loud"):
        media.encode(run)


def test_no_more_is_decoded_than_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    inner = sounds._decoded

    def counted(data: bytes, rate: int) -> Iterator[Any]:
        for piece in inner(data, rate):
            decoded.append(len(piece))
            yield piece

    monkeypatch.setattr(sounds, "_decoded", counted)
    with pytest.raises(MediaRejected, match=r"counted as 0\.5"):
        sounds.read(sound(wav(60), 0.5), RATE)
    assert sum(decoded) == sounds.AT_ONCE


# Windows


def test_a_long_sound_is_several_windows(load: Callable[..., Seer]) -> None:
    runner = load()
    media = runner.media
    assert media
    whole = wav(5)
    opens, *runs, closes = media.pieces(sound(whole))
    assert (opens, closes) == ([tiny_vision.ID["<|audio_bos|>"]], [tiny_vision.ID["<|audio_eos|>"]])
    assert [run.tokens for run in runs if isinstance(run, MediaRun)] == [ROWS, ROWS, ROWS // 2]
    samples = np.frombuffer(whole[44:], "<i2")
    for number, run in enumerate(runs):
        alone = wave_file(samples[number * tiny_vision.WINDOW * RATE :][: tiny_vision.WINDOW * RATE])
        _, same, _ = media.pieces(sound(alone))
        assert isinstance(run, MediaRun) and isinstance(same, MediaRun)
        rows, wanted = (np.array(media.encode(part).embeddings) for part in (run, same))
        assert np.array_equal(rows, wanted) and rows.std() > 0.1


@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (480, 1), (960, 1), (961, 2), (2 * RATE, ROWS)])
def test_rows_of_short_sounds(load: Callable[..., Seer], samples: int, rows: int) -> None:
    media = load().media
    assert media
    _, run, _ = media.pieces(sound(wave_file(np.full(samples, 9000, np.int16))))
    assert isinstance(run, MediaRun) and run.tokens == rows
    assert np.isfinite(np.array(media.encode(run).embeddings)).all()


# Folders


def test_names_and_forms_of_weights(load: Callable[..., Seer], tmp_path: Path) -> None:
    """As transformers' classes have them inside; and as MLX writes them, packed or not."""
    renamed = tiny_vision.write(tmp_path / "renamed", KIND)
    weights = {_inner(name): array for name, array in load_file(renamed / "model.safetensors").items()}
    save_file(weights, renamed / "model.safetensors", {"format": "pt"})
    assert is_right(load(renamed))
    written = tiny_vision.write(tmp_path / "written", KIND)
    network = made()
    mx.save_safetensors(str(written / "model.safetensors"), dict(tree_flatten(network.parameters())), {"format": "mlx"})
    assert is_right(load(written))
    packed = tiny_vision.write(tmp_path / "packed", KIND, {"quantization": {"group_size": 32, "bits": 8}})
    nn.quantize(network.language_model, group_size=32, bits=8)
    mx.save_safetensors(str(packed / "model.safetensors"), dict(tree_flatten(network.parameters())), {"format": "mlx"})
    runner = load(packed)
    assert is_right(runner, 0.2) and not is_right(runner)  # of logits that range over 8


def _inner(name: str) -> str:
    return f"model.{name.replace('language_model.model.', 'language_model.')}".replace(
        "model.language_model.lm_", "lm_"
    )


def test_half_precision(load: Callable[..., Seer], tmp_path: Path) -> None:
    place = tiny_vision.write(tmp_path, KIND)
    half = {name: array.astype(np.float16) for name, array in load_file(place / "model.safetensors").items()}
    save_file(half, place / "model.safetensors", {"format": "pt"})
    runner = load(place)
    assert is_right(runner, 0.05) and not is_right(runner)  # of logits that range over 8
    layer = made().audio_tower.layers[0]
    layer.set_dtype(mx.float16)
    layer.fc2.bias = mx.full(layer.fc2.bias.shape, 6e4, mx.float16)
    found = np.array(layer(mx.full((1, 4, 32), 6e4, mx.float16)))
    assert np.isfinite(found).all() and found.max() == np.float16(65504 - 1000)


def test_a_configuration_that_is_mostly_silent() -> None:
    """As the Hub has it."""
    config = {**RECORD["config"], "text_config": HUB_TEXT, "vocab_size": 156032}
    opened, blind = loading.find(config, set(RECORD["shapes"]))
    assert opened and not blind
    text = opened.classes({**config, **opened.settings})[1].from_dict({**config, **opened.settings}).text_config
    assert (text.hidden_size, text.num_hidden_layers, text.num_key_value_heads) == (4096, 32, 32)
    assert (text.intermediate_size, text.rope_theta, text.vocab_size) == (11008, 10000, 156032)
    assert not text.tie_word_embeddings


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "voxtral"}, "no tower for sound is known of model_type voxtral on MLX"),
        ({"model_type": "gemma3"}, "no tower for sound is known of model_type gemma3 on MLX"),
        ({"audio_config": {"activation_function": "relu"}}, "activation_function is relu"),
        ({"audio_config": {"scale_embedding": True}}, "scale_embedding is True"),
        ({"text_config": {"model_type": "llama"}}, "model_type is llama"),
        ({"text_config": {"use_sliding_window": True}}, "use_sliding_window is True"),
    ],
)
def test_what_is_not_computed_is_not_heard(config: dict[str, Any], why: str) -> None:
    known = RECORD["config"]
    parts = {part: {**known[part], **config.get(part, {})} for part in ("audio_config", "text_config")}
    opened, blind = loading.find({**known, **config, **parts}, set(RECORD["shapes"]))
    assert opened is None and why in blind


def test_without_miniaudio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families.TowerKind, "missing", lambda kind: True)
    with pytest.raises(LoadError, match=r"qwen2_audio not supported.*for sound miniaudio must be installed"):
        Seer(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"feature_extractor_type": "OtherExtractor"}, "OtherExtractor"),
        ({}, "preprocessor_config.json"),
        ({**tiny_vision.SOUNDS, "feature_size": 80}, "80 × 200 numbers of a sound, and its tower takes 16 × 200"),
        ({**tiny_vision.SOUNDS, "chunk_length": 30}, "16 × 3000"),
    ],
)
def test_an_extractor_that_does_not_fit(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    tiny_vision.write(tmp_path, KIND)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(LoadError, match=said):
        Seer(tmp_path)


def test_a_newer_folder(load: Callable[..., Seer], tmp_path: Path) -> None:
    """Of transformers 5, which has all processors in one file."""
    tiny_vision.write(tmp_path, KIND)
    (tmp_path / "preprocessor_config.json").unlink()
    about = {"processor_class": "Qwen2AudioProcessor", "feature_extractor": tiny_vision.SOUNDS}
    (tmp_path / "processor_config.json").write_text(json.dumps(about))
    assert is_right(load(tmp_path))


def test_more_layers_than_weights(tmp_path: Path) -> None:
    audio = {**RECORD["config"]["audio_config"], "encoder_layers": 10**7}
    tiny_vision.write(tmp_path, KIND, {"audio_config": audio})
    with pytest.raises(LoadError, match="encoder_layers is 10000000"):
        Seer(tmp_path)


# Served


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    config = ServeConfig(model=str(folder), engine="mlx", port=0, no_state=True, context=400, max_audio_seconds=9)
    with RunningServer(config) as server:
        yield server.ready()


def question(*heard: bytes, text: str = "? It is") -> dict[str, Any]:
    parts = [{"type": "text", "text": "What is in "}, *map(sound_part, heard), {"type": "text", "text": text}]
    return {"model": "", "messages": [{"role": "user", "content": parts}], "max_tokens": 4, "temperature": 0}


def test_a_sound_in_a_chat(server: RunningServer) -> None:
    client = server.client()
    about = client.models.list().data[0].model_extra
    assert about and about["capabilities"]["audio"] and not about["capabilities"]["vision"]
    asked = question(tiny_vision.medium(0, hears=True))
    first, again = (client.chat.completions.create(**asked) for _ in range(2))
    count = len(RECORD["cases"][0]["ids"]) + 3  # the template's marks
    assert first.usage and first.usage.prompt_tokens == count
    assert first.usage.prompt_tokens_details and first.usage.prompt_tokens_details.audio_tokens == 10 + 2
    assert again.usage and again.usage.prompt_tokens_details
    assert again.usage.prompt_tokens_details.cached_tokens == count - 1
    assert first.choices[0].message == again.choices[0].message
    long = client.chat.completions.create(**question(wav(5), FLAC))
    assert long.usage and long.usage.prompt_tokens_details
    assert long.usage.prompt_tokens_details.audio_tokens == (2 * ROWS + ROWS // 2 + 2) + (1 + 2)


def test_several_ask_about_one_sound(server: RunningServer) -> None:
    """It is computed once: all but the first find it in the cache."""
    client, heard = server.client(), wav(1.9, seed=7)
    bodies = [question(heard, text=f"{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: client.chat.completions.create(**body), bodies))
    cached = sorted(answer.usage.prompt_tokens_details.cached_tokens for answer in answers)
    assert cached[0] < ROWS - 3 < cached[1]


def test_speech_is_written_down_on_mlx(server: RunningServer) -> None:
    client = server.client()
    reply = client.audio.transcriptions.create(file=("a.wav", wav(1)), model="", extra_body={"max_tokens": 8})
    assert reply.usage and reply.usage.input_token_details.audio_tokens == 25 + 2
    with pytest.raises(openai.BadRequestError, match="at most 9 seconds") as error:
        client.audio.transcriptions.create(file=("a.wav", wav(9.5)), model="")
    assert error.value.param == "file"


@pytest.mark.parametrize(
    ("part", "param", "said"),
    [
        (
            sound_part(wav(9.5)),
            "messages[0].content[0].input_audio",
            "at most 9 seconds (--max-audio-seconds), got 9.5",
        ),
        (sound_part(wav(1)[:40]), "messages[0].content[0].input_audio", "WAV"),
        (sound_part(flac()), "messages[0].content[0].input_audio", "that can be read"),
        (image_part(picture()), "messages[0].content[0].type", "This model takes text and sound only."),
    ],
)
def test_what_is_refused(server: RunningServer, part: dict[str, Any], param: str, said: str) -> None:
    body = question()
    body["messages"][0]["content"].insert(0, part)
    with pytest.raises(openai.BadRequestError) as error:
        server.client().chat.completions.create(**body)
    assert error.value.param and error.value.param.startswith(param) and said in str(error.value)
