"""`--defaults`: what requests leave open."""

from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from running import FAKE, RunningServer

from nitro.api.sampling import parse_defaults
from nitro.config import ServeConfig
from nitro.engines.client import Engine
from nitro.engines.fake import FakeRunner
from nitro.engines.types import EngineSpec
from nitro.errors import StartError
from nitro.models.served import ServedModel
from nitro.models.source import ModelSource
from nitro.serve import Server


def test_names_and_numbers() -> None:
    assert parse_defaults("temperature=0.7") == {"temperature": 0.7}
    found = parse_defaults("top_k=40, repeat_penalty=1.1,typical_p = 0.5,repeat_last_n=-1")
    assert found == {"top_k": 40, "repetition_penalty": 1.1, "typical_p": 0.5, "repeat_last_n": -1}
    assert parse_defaults("top_k=-1,top_n_sigma=-1") == {"top_k": 0, "top_n_sigma": 0}


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
    info = replace(FakeRunner(EngineSpec("fake", "")).info, sampling={"min_p": 0.1, "top_p": 0.8})
    source = ModelSource("", "", 0, sampling={"top_p": 0.9, "top_k": 3})
    served = ServedModel(source, Engine(EngineSpec("fake", "")), defaults={"top_k": 5})
    assert served.sampling(info) == {"min_p": 0.1, "top_p": 0.9, "top_k": 5}


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
