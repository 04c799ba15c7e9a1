"""The servers that clients meet: a model that says what its prompt tells it to, and the embedded one on both engines.
On MLX NumPy multiplies (quick_mlx.py). On llama.cpp it sees colours: a projector gives it its own rows of their names.

They are strict, unless a client says otherwise: whatever it sends has an effect, or its program fails. They record what
they are asked, and test_traffic.py sends it again.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asking import SAYING, TEMPLATE
from msgspec.structs import replace
from pictures import sound
from projectors import COLOURS, SIDE, picture, write_oracle
from real_models import write_texts
from running import RunningServer

from nitro.config import ServeConfig
from nitro.engines.types import EngineSpec
from nitro.gguf import header

SERVERS = {
    "scripted": {"engine": SAYING, "context": 65536},
    "llama": {"engine": "llama", "context": 2048},
    "mlx": {"engine": "mlx", "context": 2048},
    "hears": {"engine": "runners:HearingRunner", "context": 4096},
    "plain": {"engine": "llama", "context": 2048, "defaults": "temperature=0"},  # for the documentation's examples
    "ranks": {"engine": "nitro.engines.backends.fake:FakeReranker", "context": 512},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ray", action="store_true", help="also Ray Serve before several servers, which takes minutes")


class OnQuickMlx(ServeConfig):
    """The server knows of "mlx", and so the embedded model keeps its name, its sampling and its system message."""

    def engine_spec(self, model: str, projector: str | None = None) -> EngineSpec:
        return replace(ServeConfig.engine_spec(self, model, projector), engine="quick_mlx:QuickMlx")


@pytest.fixture(scope="session")
def running() -> dict[tuple[str, bool], RunningServer]:
    """Those that were started so far, by name and whether they are strict."""
    return {}


@pytest.fixture(scope="session")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
    smollm: Path,
    running: dict[tuple[str, bool], RunningServer],
) -> Iterator[Callable[[str, bool], RunningServer]]:
    """Each is started when it is first asked for."""
    folder = tmp_path_factory.mktemp("servers")
    (folder / "hermes.jinja").write_text(TEMPLATE)
    sees = {"mmproj": str(write_oracle(smollm, folder / "mmproj.gguf", _names_of_colours(smollm)))}
    files = {"scripted": {"chat_template": folder / "hermes.jinja"}, "llama": sees, "plain": sees}
    with ExitStack() as stack:

        def get(name: str, strict: bool) -> RunningServer:
            if (name, strict) not in running:
                record = folder / "records" / f"{name}-{strict}"
                make = OnQuickMlx if name == "mlx" else ServeConfig
                config = make(port=0, strict=strict, record=record, **SERVERS[name], **files.get(name, {}))
                running[name, strict] = stack.enter_context(RunningServer(config)).ready()
            return running[name, strict]

        yield get


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Path:
    """The embedded model's, as a folder that transformers opens: some clients count tokens themselves."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_texts(header.read(smollm), folder, {})
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each colour, and one with a sound."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "speech.wav").write_bytes(sound())
    for colour in COLOURS:
        (folder / f"{colour}.png").write_bytes(picture([[colour] * SIDE] * SIDE))
    return folder


def _names_of_colours(model: Path) -> list[int]:
    """The tokens of " red" and so on: in vocabularies of bytes a space is a Ġ."""
    tokens = header.read(model).need("tokenizer.ggml.tokens")
    return [tokens.index(f"Ġ{colour}") for colour in COLOURS]
