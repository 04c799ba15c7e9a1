"""How far a load is: counted by the backends, told by the engine process, shown on the terminal."""

import io
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from running import CEILING, server_process

from nitro.engines import messages
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.types import EngineSpec, LoadProgress
from nitro.engines.weights_read import OF_THIS_PROCESS, WeightsRead
from nitro.engines.worker import load_reports
from nitro.engines.worker.load_reports import LoadReports
from nitro.gguf import header
from nitro.load_output import EVERY, PATIENCE, LoadOutput, line
from nitro.system import frames


def bytes_of(file: Path) -> int:
    return sum(tensor.size for tensor in header.read_all(file, full=False).tensors.values())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> WeightsRead:
    """What backends count in this process, from now on."""
    monkeypatch.setattr(OF_THIS_PROCESS, "_before", 0)
    monkeypatch.setattr(OF_THIS_PROCESS, "_now", 0)
    monkeypatch.setattr(OF_THIS_PROCESS, "_total", 0)
    return OF_THIS_PROCESS


def test_weights_beside_the_models_are_added() -> None:
    weights = WeightsRead()
    assert weights.progress == LoadProgress(0, 0)
    weights.begin(100)
    weights.reach(0.25)
    assert weights.progress == LoadProgress(25, 100)
    weights.reach(1.0)
    weights.begin(20)  # a draft model's
    assert weights.progress == LoadProgress(100, 120)
    weights.add(30)  # what a library says need not be exact
    assert weights.progress == LoadProgress(120, 120)


def test_llama_cpp_counts_all_weights(model: Path, counted: WeightsRead, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    reach = WeightsRead.reach

    def note(self: WeightsRead, share: float) -> None:
        shares.append(share)
        reach(self, share)

    monkeypatch.setattr(WeightsRead, "reach", note)
    LlamaModel(EngineSpec("llama", str(model))).close()
    assert counted.progress == LoadProgress(bytes_of(model), bytes_of(model))
    assert len(shares) > 2 and shares == sorted(shares)


def test_mlx_counts_all_weights(model: Path, counted: WeightsRead, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlx.core")
    from nitro.engines.backends.mlx import gguf_loader, weight_reading

    network = gguf_loader.open_gguf(model).network
    assert counted.progress == LoadProgress(bytes_of(model), bytes_of(model))
    monkeypatch.setattr(weight_reading, "PIECE", 1000)
    before = counted.progress.total
    weight_reading.read(network)
    assert counted.progress.read == counted.progress.total > before


def following(sock: socket.socket) -> Iterator[LoadProgress]:
    """What is told, each once for as long as it is the same."""
    sock.settimeout(CEILING)
    last = None
    for payload in frames.payloads(sock):
        message = messages.decode_from_engine(payload)
        assert isinstance(message, messages.Loading)
        if message.progress != last:
            yield message.progress
        last = message.progress


def test_the_engine_process_tells_it_until_the_load_is_over() -> None:
    ours, theirs = socket.socketpair()
    weights = WeightsRead()
    weights.begin(1000)
    with ours, theirs:
        told = following(ours)
        with LoadReports(theirs, weights, every=0.001):
            for count, read in ((0, 0), (10, 10), (20, 30)):
                weights.add(count)
                assert next(told) == LoadProgress(read, 1000)
        theirs.close()
        assert not list(told)


def test_what_the_system_reads_for_a_library_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the whole, and not what was read before."""
    ours, theirs = socket.socketpair()
    weights = WeightsRead()
    on_disk = [5000]
    monkeypatch.setattr(load_reports, "disk_bytes", lambda: on_disk[0])
    weights.begin(1000)
    with ours, theirs:
        told = following(ours)
        with LoadReports(theirs, weights, every=0.001):
            for so_far, read in ((5000, 0), (5400, 400), (9000, 1000)):
                on_disk[0] = so_far
                assert next(told) == LoadProgress(read, 1000)


def test_what_the_system_tells_of_reads(tmp_path: Path) -> None:
    if not Path("/proc/self/io").exists():
        assert load_reports.disk_bytes() == 0
    assert load_reports.disk_bytes() >= 0


# On the terminal


def test_a_quick_load_says_nothing_and_a_long_one_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    output = LoadOutput(Console(file=io.StringIO(), force_terminal=False), clock=lambda: now[0])
    told = output.of("m")
    for now[0] in (0.0, 0.3, PATIENCE - 0.01):
        told(LoadProgress(0, 2**30))
    told(None)
    assert capsys.readouterr().err == ""
    for now[0] in (10.0, 10.0 + PATIENCE, 11.0, 10.0 + PATIENCE + EVERY, 17.0):
        told(LoadProgress(2**28 * 3, 2**30))
    told(None)
    assert capsys.readouterr().err == "Loading m: 0.8 of 1.0 GiB (75 %)\n" * 2


def test_a_model_without_a_byte() -> None:
    assert line("m", LoadProgress(0, 0)).endswith("(0 %)")


@pytest.mark.parametrize("no_color", [True, False])
def test_a_terminal_has_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    """In 80 columns; two models at once have one each."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    shown = io.StringIO()
    now = [0.0]
    console = Console(file=shown, force_terminal=True, color_system="truecolor", width=80)
    output = LoadOutput(console, clock=lambda: now[0])
    first, second = output.of("x" * 90), output.of("other")
    for now[0] in (0.0, PATIENCE, 2.0):
        first(LoadProgress(2**29, 2**30))
        second(LoadProgress(1, 2**30))
    text = shown.getvalue()
    assert "Loading other" in text and "0.5/1.0 GiB" in text and "x…" in text and "━" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert max(map(len, re.split(r"[\r\n]", plain))) <= 80
    colours = re.findall(r"\x1b\[[0-9;]*(?:3[0-9]|38)[0-9;]*m", text)
    assert bool(colours) is not no_color
    second(None)
    first(None)
    assert output._bars is None
    first(None)  # it was over already


def test_a_server_says_how_far_it_is(tmp_path: Path) -> None:
    """`nitro serve` in a pipe: a line while a load lasts, and the banner once it is done."""
    from runners import Gate

    gate = Gate(tmp_path)
    try:
        with server_process("--engine", "runners:SlowlyLoaded", gate.path) as server:
            gate.hold()
            for said in server.process.stderr:
                server.said.append(said)
                if "MiB" in said:
                    break
            assert server.said[-1].strip() == f"Loading {gate.path}: 0.0 of 0.0 MiB (30 %)"
            gate.greet()
            server.wait_ready()
    finally:
        gate.close()
