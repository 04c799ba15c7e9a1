"""What happens between `nitro serve` and readiness: processes begin side by side, import little, and none is left."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import CEILING, FAKE

from nitro.config import ServeConfig
from nitro.errors import StartError
from nitro.launch import Launch
from nitro.server import Server
from nitro.system import file_descriptors, gc_tuning, packages

CONFIG = ServeConfig(engine=FAKE, port=0)


def python(program: str) -> str:
    """What a program prints, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_begins_first_imports_no_server() -> None:
    """Else the engine's process would wait for it."""
    heavy = {"asyncio", "litestar", "uvicorn.server", "jinja2", "rich", "nitro.server", "nitro.api.app"}
    assert python(f"import sys, nitro.launch; print(*{heavy} & set(sys.modules))") == ""


def test_the_server_imports_no_library_that_it_has_no_use_for() -> None:
    program = f"""
import asyncio, sys
from nitro.launch import Launch
from nitro.config import ServeConfig
from nitro.server import Server
async def make():
    Server(ServeConfig(engine="{FAKE}", port=0))
asyncio.run(make())
print(*{{"pydantic", "rich", "yaml.loader", "uvicorn.main", "jinja2"}} & set(sys.modules))
"""
    assert python(program) == ""


def test_an_engine_imports_only_the_bindings_of_llama_cpp() -> None:
    program = """
import sys, nitro.engines.worker.main, nitro.engines.backends.llama.runner
print(*{"asyncio", "diskcache", "jinja2", "llama_cpp.llama", "gguf.gguf_reader", "yaml"} & set(sys.modules))
"""
    assert python(program) == ""


def test_a_server_takes_the_processes_that_have_begun() -> None:
    async def scenario() -> None:
        with Launch(CONFIG) as launch:
            launch.start()
            assert launch.engine and launch.intake
            server = Server(CONFIG, launch)
            serving = asyncio.create_task(server.serve())
            async with asyncio.timeout(CEILING):
                info = await server.engine.ready()
                assert server.engine.pid == launch.engine.child.process.pid
                assert server.engine.restarts == 0
                await server._warm_up(info)
            process = server.intake._small._process
            assert process and process.pid == launch.intake.process.pid
            server.stop()
            await serving
            assert launch.engine.child.process.returncode is not None
            assert launch.intake.process.returncode is not None

    asyncio.run(scenario())


def test_a_server_that_cannot_be_made_leaves_no_process(tmp_path: Path) -> None:
    config = ServeConfig(engine=FAKE, port=0, chat_template=tmp_path / "nowhere.jinja")
    launch = Launch(config)
    launch.start()
    assert launch.engine and launch.intake
    with pytest.raises(StartError, match="nowhere"):
        Server(config, launch)
    assert launch.engine.child.process.returncode is not None
    assert launch.intake.process.returncode is not None
    assert launch.socket.fileno() == -1


def test_one_that_is_not_served_ends_with_its_launch() -> None:
    with Launch(CONFIG) as launch:
        launch.start()
        assert launch.engine and launch.intake
    assert launch.engine.child.process.returncode is not None
    assert launch.intake.process.returncode is not None


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server tries again, and says what is missing."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with Launch(CONFIG) as launch:
        launch.start()
        assert launch.engine is None and launch.intake is None


# The collector of garbage


def test_garbage_is_collected_again_afterwards() -> None:
    assert gc.isenabled()
    with pytest.raises(StartError), gc_tuning.resting():
        assert not gc.isenabled()
        raise StartError("")
    assert gc.isenabled()


# Packages without their __init__


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that has not been imported, and prints when its `__init__` runs."""
    folder = tmp_path / "big_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("print('runs')\nfrom big_package.part import one as two\n__version__ = '1.2'\n")
    (folder / "part.py").write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "big_package"
    for name in [name for name in sys.modules if name.startswith("big_package")]:
        del sys.modules[name]


def test_a_module_is_imported_without_the_package(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    packages.defer(package)
    from big_package.part import one  # type: ignore[import-not-found]

    assert one == 1 and packages.version(package) == "1.2"
    assert capsys.readouterr().out == ""


def test_the_package_runs_when_it_is_asked(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    packages.defer(package)
    import big_package  # type: ignore[import-not-found]

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(big_package.two)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 4 and packages.version(package) == "1.2"
    assert capsys.readouterr().out == "runs\n"
    with pytest.raises(AttributeError):
        big_package.three  # noqa: B018


def test_one_that_is_imported_or_missing_stays_so(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    import big_package

    packages.defer(package)
    packages.defer("no_such_package")
    assert sys.modules[package] is big_package and "no_such_package" not in sys.modules
    assert capsys.readouterr().out == "runs\n"


def test_who_asks_while_it_runs_waits(package: str, tmp_path: Path) -> None:
    """A thread that asks for a name that is not there yet."""
    (tmp_path / package / "__init__.py").write_text("import sys\nsys.modules['meeting'].meet()\nlate = 1\n")
    running, asks, answered = threading.Event(), threading.Event(), threading.Event()

    def meet() -> None:
        running.set()
        assert asks.wait(CEILING)
        answered.wait(0.1)  # which it must not be

    found: list[int | None] = []

    def ask() -> None:
        assert running.wait(CEILING)
        asks.set()
        found.append(getattr(sys.modules[package], "late", None))
        answered.set()

    sys.modules["meeting"] = SimpleNamespace(meet=meet)  # type: ignore[assignment]
    try:
        packages.defer(package)
        thread = threading.Thread(target=ask)
        thread.start()
        assert sys.modules[package].late == 1
        thread.join()
        assert found == [1]
    finally:
        del sys.modules["meeting"]


def test_connections_that_the_system_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are asked for are had, or the start says what to do; without a word there are as many as can be."""
    asked: list[int] = []

    def raise_limit(more: int) -> int:
        asked.append(more)
        return 1000

    monkeypatch.setattr(file_descriptors, "raise_limit", raise_limit)
    with pytest.raises(
        StartError, match=r"--max-connections 5000: .* 1000 files, enough for 436 connections.*ulimit -n"
    ):
        Launch(ServeConfig(engine=FAKE, port=0, max_connections=5000))
    assert asked == [5000 * 2 + file_descriptors.RESERVED]
    for wanted, most in ((400, 400), (None, 436)):
        with Launch(ServeConfig(engine=FAKE, port=0, max_connections=wanted)) as launch:
            assert launch.max_connections == most
