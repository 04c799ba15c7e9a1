"""What becomes of a server whose workers are not there, are others, or go: a sentence that names the worker, soon."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from rpc_workers import WorkerProcess, hello, pretender, stalling, worker
from running import CEILING, FAKE, ServerProcess, until

from nitro.cli.rpc_worker import rpc_worker
from nitro.config import ServeConfig
from nitro.doctor import ask_worker
from nitro.doctor_report import RpcWorker
from nitro.engines.backends.llama.remote.connections import IDLE
from nitro.engines.backends.loading import load
from nitro.engines.client.spawn import ENVIRONMENT
from nitro.engines.options import EngineOptions
from nitro.engines.remote import greeting, library_file, workers
from nitro.engines.remote.greeting import WorkerFault, greet
from nitro.engines.remote.workers import BadWorkers, Worker
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.errors import StartError
from nitro.loading import limits
from nitro.models import device_memory
from nitro.models.settings import ModelSettings
from nitro.system.held_port import held_port

TEXT = "The Danube rises in the Black Forest and flows through ten countries."


def as_worker(name: str) -> Worker:
    (found,) = workers.parse(name, insecure=False)
    return found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (hello(6), r"speaks version 6\.0\.0 of llama\.cpp's RPC protocol, and this machine 7\.0\.0\. Have the same"),
        (hello(7, 1), r"speaks version 7\.1\.0"),
        (b"", "has closed the connection instead of answering"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "has closed the connection instead of answering"),
        (None, r"not answered for 0\.2 seconds: it serves another client \(one at a time\), or it has stopped"),
    ],
    ids=["old", "new", "closes", "http", "silent"],
)
def test_who_does_not_answer_as_a_worker(answer: bytes | None, said: str) -> None:
    with pretender(answer) as name, pytest.raises(WorkerFault, match=said) as caught:
        greet(as_worker(name), (7, 0, 0), seconds=0.2 if answer is None else CEILING)
    assert name in str(caught.value)


def test_nobody_listens() -> None:
    with pretender(b"") as name:
        pass
    with pytest.raises(WorkerFault, match=rf"{name} cannot be reached: Connection refused\. `nitro rpc-worker`"):
        greet(as_worker(name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker", "worker: a worker is written HOST:PORT, as in 127.0.0.1:50052"),
        ("worker:", "HOST:PORT"),
        ("127.0.0.1:65536", "HOST:PORT"),
        ("[::1]:50052", "has no IPv4 address"),
        ("no.such.host.invalid:50052", "'no.such.host.invalid' has no IPv4 address"),
        ("127.0.0.1:1,127.0.0.1:1", "names the worker 127.0.0.1:1 twice"),
        ("10.0.0.7:50052", r"10.0.0.7 is not on this machine.*neither authentication.*--insecure-network"),
        (",".join(f"127.0.0.1:{port}" for port in range(1, 18)), "names 17 workers, and llama.cpp takes 16"),
    ],
)
def test_names_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadWorkers, match=said):
        workers.parse(text, insecure=False)


def test_a_network_needs_a_word() -> None:
    (found,) = workers.parse("10.0.0.7:50052", insecure=True)
    assert found.endpoint == "10.0.0.7:50052"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu_layers": 0}, "--gpu-layers 0 puts them nowhere"),
        ({"require_gpu": True}, "--require-gpu cannot be kept with --rpc"),
        ({"deterministic": True}, "--deterministic is a promise for the CPU of one machine"),
        ({"split_mode": "row"}, "--rpc shares a model by layers. Leave out --split-mode row"),
    ],
)
def test_options_that_do_not_go_together(smollm: Path, options: dict, said: str) -> None:
    pytest.importorskip("llama_cpp")
    with pytest.raises(LoadError, match=said):
        load(EngineSpec(engine="llama", model=str(smollm), rpc="127.0.0.1:1", **options))


def test_a_word_about_workers_needs_workers(smollm: Path) -> None:
    pytest.importorskip("llama_cpp")
    for field in ("insecure_network", "rpc_insecure_network"):
        with pytest.raises(LoadError, match=f"--{field.replace('_', '-')} is about workers, and none is named"):
            load(EngineSpec(engine="llama", model=str(smollm), **{field: True}))


def test_mlx_has_no_workers(model: Path) -> None:
    with pytest.raises(LoadError, match=r"--rpc is for llama\.cpp, and MLX has no such option"):
        load(EngineSpec(engine="mlx", model=str(model), rpc="127.0.0.1:1"))


def test_shares_need_devices(smollm: Path) -> None:
    pytest.importorskip("llama_cpp")
    with pytest.raises(LoadError, match="--tensor-split is for GPUs"):
        load(EngineSpec(engine="llama", model=str(smollm), tensor_split="1,1"))


def test_where_it_was_not_built(smollm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp")
    monkeypatch.setattr(library_file.sys, "prefix", str(tmp_path))
    with pytest.raises(LoadError, match=r"--rpc cannot be used: .*not built.*Install a C\+\+ compiler"):
        load(EngineSpec(engine="llama", model=str(smollm), rpc="127.0.0.1:1"))
    library_file.folder().mkdir(parents=True)
    (library_file.folder() / "no-rpc").write_text("no C++ compiler was found when Nitro was installed\n")
    with pytest.raises(LoadError, match=r": no C\+\+ compiler was found when Nitro was installed\. Install"):
        load(EngineSpec(engine="llama", model=str(smollm), rpc="127.0.0.1:1"))


def test_one_model_at_a_time() -> None:
    config = ServeConfig(engine=FAKE, rpc="127.0.0.1:1")
    assert limits(config).count == 1
    with pytest.raises(StartError, match="--models-max 2: a worker of --rpc holds layers of one model at a time"):
        limits(ServeConfig(engine=FAKE, rpc="127.0.0.1:1", models_max=2))


@pytest.mark.parametrize(("other", "count"), [("127.0.0.1:1", 1), ("127.0.0.1:2", None)])
def test_models_of_nitro_toml_may_share_a_worker(other: str, count: int | None) -> None:
    settings = {
        "a": ModelSettings(options={"rpc": "127.0.0.1:3,127.0.0.1:1"}),
        "b": ModelSettings(options={"rpc": other}),
    }
    assert limits(ServeConfig(engine=FAKE, model_settings=settings)).count == count


def start(*arguments: str) -> tuple[int, str]:
    """`nitro serve` that is to fail: its exit status, and what it says."""
    server = ServerProcess("--engine", "llama", *arguments)
    _, said = server.process.communicate(timeout=CEILING)
    return server.process.returncode, said


def test_a_server_without_its_worker_says_so_and_ends() -> None:
    with worker() as gone:
        pass
    code, said = start("--rpc", gone.name)
    assert code == 1 and f"The RPC worker at {gone.name} cannot be reached: Connection refused." in said


def test_a_worker_serves_one_server() -> None:
    """The second is told, and the first goes on."""
    with worker() as busy:
        with workers_connection(busy):
            code, said = start("--rpc", busy.name)
        assert code == 1 and "it serves another client (one at a time)" in said
        assert greet(as_worker(busy.name)).free


def workers_connection(busy: WorkerProcess):
    """A client that holds it: it has said hello, and asks nothing."""
    sock = socket.create_connection(("127.0.0.1", busy.port))
    sock.sendall(bytes([greeting.HELLO]) + (24).to_bytes(8, "little") + bytes(24))
    assert len(sock.recv(36)) == 36
    return sock


def test_weights_that_do_not_fit() -> None:
    with worker("--memory", "64M") as small:
        code, said = start("--rpc", small.name, "--ctx", "256")
        assert code == 1 and re.search(
            r"weights are 0\.\d GiB, and the workers \S+ and the GPUs .* offer 0\.1 GiB", said
        )
        code, said = start("--rpc", small.name, "--ctx", "256", "--gpu-layers", "31")
        assert code == 1 and "cannot load" in said and "SIGABRT" not in said


def test_a_worker_that_dies_and_comes_back(serve, shallow_smollm: Path) -> None:
    """Its engine dies, the request under way is told which worker it was, and the next finds the worker again."""
    with held_port() as port, worker() as first, worker(port=port) as second:
        names = f"{first.name},{second.name}"
        server = serve(engine="llama", model=str(shallow_smollm), context=4096, parallel=1, rpc=names).ready()
        stream = server.client().completions.create(
            model="", prompt=TEXT, max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        parts = iter(stream)
        next(parts)
        second.end()
        with pytest.raises(openai.APIError, match=f"the RPC worker at {second.name} is gone"):
            list(parts)
        with pytest.raises(openai.InternalServerError, match=f"The RPC worker at {second.name} cannot be reached"):
            server.client().completions.create(model="", prompt="Again", max_tokens=1)
            server.client().completions.create(model="", prompt="Again", max_tokens=1)
        with worker(port=port):
            until(lambda: server.engine.info)
            assert server.client().completions.create(model="", prompt="One, two,", max_tokens=2).choices[0].text
            assert server.engine.info.workers.keys() == {first.name, second.name}


def test_a_worker_that_dies_while_nothing_is_asked(serve, shallow_smollm: Path) -> None:
    """Nobody's request finds it out."""
    with held_port() as port, worker(port=port) as only:
        server = serve(engine="llama", model=str(shallow_smollm), context=256, rpc=only.name).ready()
        pid = server.engine.pid
        only.end()
        until(lambda: not server.engine.info)
        with worker(port=port):
            until(lambda: server.engine.info)
            assert server.engine.pid != pid
            assert server.client().completions.create(model="", prompt="One, two,", max_tokens=2).choices[0].text


def test_a_worker_that_answers_no_more(serve, shallow_smollm: Path) -> None:
    """The watchdog ends the engine, and says which worker it waited for."""
    with worker() as first, worker() as second:
        names = f"{first.name},{second.name}"
        options = {"context": 4096, "parallel": 1, "stall_timeout": 3}
        server = serve(engine="llama", model=str(shallow_smollm), rpc=names, **options).ready()
        stream = server.client().completions.create(
            model="", prompt=TEXT, max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        parts = iter(stream)
        next(parts)
        second.stop()
        said = rf"--stall-timeout 3 says\. It said last: the RPC worker at {second.name} has not answered for \d"
        with pytest.raises(openai.APIError, match=said):
            list(parts)
        second.go_on()
        until(lambda: server.engine.info)
        assert server.client().completions.create(model="", prompt="One, two,", max_tokens=2).choices[0].text


LOADING = """
import logging, sys
from nitro.engines.backends.llama.remote import watch
watch.LOAD_SECONDS = 1
from nitro.engines.backends.loading import load
from nitro.engines.types import EngineSpec
logging.basicConfig()
load(EngineSpec(engine="llama", model=sys.argv[1], rpc=sys.argv[2]))
"""


def test_a_worker_that_answers_no_more_while_a_model_is_loaded(smollm: Path) -> None:
    """No watchdog looks yet."""
    with stalling() as name:
        command = [sys.executable, "-c", LOADING, str(smollm), name]
        environment = {**os.environ, **ENVIRONMENT}
        done = subprocess.run(command, capture_output=True, text=True, timeout=CEILING, env=environment)
    assert done.returncode == 1
    assert f"the RPC worker at {name} has not answered for 1." in done.stderr


def test_a_client_s_machine_may_vanish() -> None:
    """The system asks after clients, and so the worker has the next."""
    with worker() as only, socket.create_connection(("127.0.0.1", only.port)) as client:
        ends = [f"0100007F:{port:04X}" for port in (only.port, client.getsockname()[1])]
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        (timer,) = (row[5] for row in table if row[1:3] == ends)
        assert timer[:3] == "02:" and int(timer[3:], 16) <= 100 * IDLE, "it has no keep-alive timer"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_worker(number: int) -> None:
    with worker("--memory", "1G") as only:
        assert greet(as_worker(only.name)).free == [2**30]
        assert "offers 1.0 GiB" in "".join(only.said)
        assert ask_worker(only.name) == RpcWorker(only.name, "7.0.0", [2**30], None)
        assert device_memory.free_on_gpu(EngineOptions(engine="llama", gpu_layers=0, rpc=only.name)) == 2**30
        assert only.end(number) == 0


def run(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "nitro", "rpc-worker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CEILING, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


def test_a_worker_does_not_listen_where_others_reach_it() -> None:
    code, said = run("--host", "0.0.0.0")
    assert code == 1 and "neither authentication nor encryption" in said and "say --insecure-network" in said
    with worker("--host", "0.0.0.0", "--insecure-network") as only:
        greet(Worker(only.name, "127.0.0.1", only.port))
    (flag,) = (each for each in rpc_worker.params if each.name == "insecure")
    assert flag.opts == ["--insecure-network", "--rpc-insecure-network"]


def test_a_port_that_is_taken() -> None:
    with worker() as first:
        code, said = run("--port", str(first.port))
    assert code == 1 and f"127.0.0.1:{first.port} cannot be listened on: Address already in use." in said
