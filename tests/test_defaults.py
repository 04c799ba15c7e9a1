"""What requests leave open: `--defaults`, and what the model brings."""

import math
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from running import FAKE, RunningServer
from tiny_models import RECOMMENDED, write_folder

from nitro.config import ServeConfig
from nitro.engines import messages, sampling_defaults
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.client.engine import Engine
from nitro.engines.sampling_defaults import SamplingDefaults, from_file
from nitro.engines.sampling_params import INT32
from nitro.engines.types import EngineSpec
from nitro.errors import StartError
from nitro.models.handle import ServedModel
from nitro.models.model_source import ModelSource
from nitro.server import Server
from nitro.system import frames


def test_names_and_numbers() -> None:
    assert sampling_defaults.parse("temperature=0.7") == SamplingDefaults(temperature=0.7)
    found = sampling_defaults.parse("top_k=40, repeat_penalty=1.1,typical_p = 0.5,repeat_last_n=-1")
    assert found == SamplingDefaults(top_k=40, repetition_penalty=1.1, typical_p=0.5, repeat_last_n=-1)
    assert sampling_defaults.parse("top_k=-1,top_n_sigma=-1").values == {"top_k": 0, "top_n_sigma": 0}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mirostat=2", "mirostat"),
        ("seed=1", "seed"),
        ("temperature", "temperature"),
        ("temperature=hot", "hot"),
        ("top_k=1.5", "top_k"),
        ("top_p=1.1", "top_p"),
        ("temperature=nan", "temperature"),
        ("temperature=0.5,,", "''"),
    ],
)
def test_what_a_server_does_not_start_with(text: str, named: str) -> None:
    with pytest.raises(StartError, match=named) as caught:
        Server(ServeConfig(engine=FAKE, port=0, defaults=text))
    assert str(caught.value).startswith("--defaults")


def test_they_win_over_the_model_s_own() -> None:
    info = replace(FakeRunner(EngineSpec("fake", "")).info, sampling=SamplingDefaults(min_p=0.1, top_p=0.8))
    source = ModelSource("", "", 0, sampling=SamplingDefaults(top_p=0.9, top_k=3))
    served = ServedModel(source, Engine(EngineSpec("fake", "")), defaults=SamplingDefaults(top_k=5))
    assert served.sampling(info) == SamplingDefaults(min_p=0.1, top_p=0.9, top_k=5)


def test_a_request_wins_over_them(model: Path) -> None:
    """The best token alone, however hot; a request may have it otherwise."""
    config = ServeConfig(model=str(model), engine="llama", port=0, defaults="temperature=5,top_k=1")
    with RunningServer(config) as server:
        server.ready()

        def said(**options: object) -> str:
            body = {"prompt": "Once", "max_tokens": 8, "seed": 3, **options}
            text: str = httpx.post(f"{server.url}/v1/completions", json=body).json()["choices"][0]["text"]
            return text

        assert said() == said(seed=4) == said(temperature=0) != said(top_k=0)


# What a model brings


def test_of_whole_numbers_and_of_others() -> None:
    """As files have them: a GGUF float32 for a whole number, JSON a whole number for a float."""
    said = {"temp": 1, "k": 20.0, "last": 64, "p": 0.5}
    keys = {"temperature": "temp", "top_k": "k", "repeat_last_n": "last", "top_p": "p", "min_p": "none"}
    found = from_file("model", said, keys)
    assert found == SamplingDefaults(temperature=1.0, top_k=20, repeat_last_n=64, top_p=0.5)
    kinds = {name: type(value) for name, value in found.values.items()}
    assert kinds == {"temperature": float, "top_k": int, "repeat_last_n": int, "top_p": float}
    assert from_file("model", {"k": -1, "last": -1}, keys).values == {"top_k": 0, "repeat_last_n": -1}
    assert from_file("model", {"k": 10**30}, keys).values == {"top_k": INT32}, "so many that it is off"


@pytest.mark.parametrize(
    "value", ["0.6", [0.6], {}, True, math.nan, math.inf, -math.inf, 10**400, -1, 101, b"1", "x" * 10**6]
)
def test_nonsense_is_left_out_and_told(value: object, caplog: pytest.LogCaptureFixture) -> None:
    keys = {"temperature": "temp", "top_k": "k"}
    assert from_file("model.gguf", {"temp": value, "k": 3}, keys) == SamplingDefaults(top_k=3)
    (told,) = caplog.messages
    assert told.startswith("model.gguf recommends temp = ") and len(told) < 300
    caplog.clear()


def test_a_whole_number_that_is_none_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert from_file("m", {"top_k": 2.5}, {"top_k": "top_k"}) == SamplingDefaults()
    assert "a whole number" in caplog.text


def test_whole_numbers_stay_whole_on_the_wire() -> None:
    brought = SamplingDefaults(temperature=1, top_k=20, repeat_last_n=64, top_p=1)
    info = replace(FakeRunner(EngineSpec("fake", "")).info, sampling=brought)
    arrived = messages.decode_from_engine(frames.frame(messages.Ready(info))[4:])
    assert isinstance(arrived, messages.Ready)
    kinds = {name: type(value) for name, value in arrived.info.sampling.values.items()}
    assert kinds == {"temperature": float, "top_k": int, "repeat_last_n": int, "top_p": float}


def test_a_model_s_own_are_drawn_with(server: RunningServer) -> None:
    """It brings some of every kind. Both engines, as a user has them."""
    served = server.server.models.default
    assert served.sampling(server.engine.info) == SamplingDefaults(**RECOMMENDED)

    def said(**options: object) -> str:
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "seed": 3, **options}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        text: str = answer.json()["choices"][0]["message"]["content"]
        return text

    assert said() == said(**RECOMMENDED)
    assert said() != said(temperature=2, top_k=0, top_p=1, min_p=0)


def test_a_folder_s_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", "plain")
    with RunningServer(ServeConfig(model=str(folder), engine="mlx", port=0, context=512, parallel=1)) as server:
        server.ready()
        assert server.engine.info.sampling == SamplingDefaults(**{**RECOMMENDED, "repeat_last_n": None})
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        assert httpx.post(f"{server.url}/v1/chat/completions", json=body).status_code == 200
