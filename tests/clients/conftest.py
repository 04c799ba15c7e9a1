"""The servers that clients meet: a model that says what its prompt tells it to, one that takes pictures and says what
comes after ">", and the embedded one on both engines.

They are strict, unless a client says otherwise: whatever it sends has an effect, or its program fails.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asking import SAYING, TEMPLATE
from real_models import write_texts
from running import RunningServer

from nitro.config import ServeConfig
from nitro.gguf import header

SERVERS = {
    "scripted": {"engine": SAYING, "context": 65536},
    "llama": {"engine": "llama", "context": 2048},
    "mlx": {"engine": "mlx", "context": 2048},
    "sees": {"engine": "nitro.engines.backends.fake:FakeSeer", "context": 4096},
    "ranks": {"engine": "nitro.engines.backends.fake:FakeReranker", "context": 512},
}


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, bool], RunningServer]]:
    """Each is started when it is first asked for."""
    template = tmp_path_factory.mktemp("template") / "hermes.jinja"
    template.write_text(TEMPLATE)
    running: dict[tuple[str, bool], RunningServer] = {}
    with ExitStack() as stack:

        def get(name: str, strict: bool) -> RunningServer:
            if (name, strict) not in running:
                options = {"chat_template": template} if name == "scripted" else {}
                config = ServeConfig(port=0, strict=strict, **SERVERS[name], **options)
                running[name, strict] = stack.enter_context(RunningServer(config)).ready()
            return running[name, strict]

        yield get


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Path:
    """The embedded model's, as a folder that transformers opens: some clients count tokens themselves."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_texts(header.read(smollm), folder, {})
    return folder
