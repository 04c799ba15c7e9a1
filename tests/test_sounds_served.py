"""A model that hears, served: from a request with a sound to its answer, on llama.cpp."""

import io
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openai
import pytest
from pictures import mp3, sound_part
from projectors import write_ear
from running import RunningServer
from tiny_models import WIDTH, write_gguf

from nitro.config import ServeConfig

TOKENS = 752  # of 30 seconds, which llama.cpp makes of less, too; two of them say where it begins and ends


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Its projector is found beside it."""
    folder = tmp_path_factory.mktemp("hearing")
    model = write_gguf(folder / "tiny.gguf", names={7: "<|audio_bos|>", 8: "<|audio_eos|>"})
    write_ear(folder / "mmproj-tiny.gguf", WIDTH)
    with RunningServer(ServeConfig(engine="llama", model=str(model), port=0, context=2048, parallel=4)) as server:
        yield server.ready()


def tone(hertz: float, seconds: float = 1.0, rate: int = 16000) -> bytes:
    """A WAV file."""
    values = np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, rate, 0, "NONE", ""))
        written.writeframes(np.int16(values * 30000).tobytes())
    return file.getvalue()


def question(*sounds: bytes, text: str = "What is it?") -> dict[str, Any]:
    parts = [*map(sound_part, sounds), {"type": "text", "text": text}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 6, "temperature": 0}


def test_a_sound_is_heard(server: RunningServer) -> None:
    media = server.engine.info.media
    assert media and media.audio and not media.image
    client = server.client()
    first, other = (client.chat.completions.create(**question(tone(hertz))) for hertz in (440, 660))
    assert first.usage.prompt_tokens_details.audio_tokens == TOKENS
    assert first.choices[0].message.content and other.choices[0].message.content
    assert other.usage.prompt_tokens_details.cached_tokens < TOKENS
    again = client.chat.completions.create(**question(tone(440), text="What is it? Say more."))
    assert again.usage.prompt_tokens_details.cached_tokens > TOKENS
    both = client.chat.completions.create(**question(tone(440), mp3()))
    assert both.usage.prompt_tokens_details.audio_tokens == 2 * TOKENS
    assert both.usage.prompt_tokens_details.cached_tokens > TOKENS


def test_four_about_one_sound(server: RunningServer) -> None:
    """It is computed once: all but the first find it in the cache."""
    client = server.client()
    bodies = [question(tone(880), text=f"Say {number}.") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: client.chat.completions.create(**body), bodies))
    cached = sorted(answer.usage.prompt_tokens_details.cached_tokens for answer in answers)
    assert cached[0] < TOKENS and cached[1] > TOKENS


def test_speech_is_written_down(server: RunningServer) -> None:
    more = {"max_tokens": 8}
    reply = server.client().audio.transcriptions.create(file=("a.wav", tone(440)), model="", extra_body=more)
    assert reply.text and reply.usage and reply.usage.input_token_details.audio_tokens == TOKENS


def test_what_cannot_be_heard_is_named(server: RunningServer) -> None:
    client = server.client()
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    for part, param in (
        (sound_part(tone(440)[:40]), "messages[0].content[0].input_audio"),
        (sound_part(b"fLaC" + bytes(99)), "messages[0].content[0].input_audio"),
        (picture, "messages[0].content[0].type"),
    ):
        body = question()
        body["messages"][0]["content"].insert(0, part)
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(**body)
        assert error.value.param and error.value.param.startswith(param), error.value
