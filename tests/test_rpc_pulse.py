"""Signs of life of RPC workers: who computes for long is not taken for who is stopped, and the other way round."""

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rpc_workers import hello, of_one_device, worker
from running import CEILING, until

from nitro.engines.client.spawn import ENVIRONMENT
from nitro.engines.remote import library_file, pulse
from nitro.engines.remote.greeting import HELLO, greet
from nitro.engines.remote.pulse import Pulse
from nitro.engines.remote.workers import Worker
from nitro.engines.silence import Silence
from scripts import rpc_backend

PAUSE = 0.05  # seconds between two looks
GREETING = bytes([HELLO]) + (24).to_bytes(8, "little") + bytes(24)
# The limits are lowered once the worker is silent for certain, or the test plays it.
LOADING = """
import logging, sys, threading
from nitro.engines.backends.llama.remote import backend, watch
from nitro.engines.backends.loading import load
from nitro.engines.types import EngineSpec

begun = threading.Event()
heard, add = watch.Pulse.heard, backend.RpcBackend.add

def noted(self):
    found = heard(self)
    self.has_begun and begun.set()
    return found

def add_later(self, endpoint):
    begun.wait()
    print("greeted", flush=True)
    sys.stdin.readline()
    watch.LIMIT = watch.LOAD_SECONDS = 1
    return add(self, endpoint)

watch.Pulse.heard, backend.RpcBackend.add = noted, add_later
logging.basicConfig()
load(EngineSpec(engine="llama", model=sys.argv[1], rpc=sys.argv[2]))
"""


def as_worker(name: str) -> Worker:
    return Worker(name, "127.0.0.1", int(name.rpartition(":")[2]))


def test_the_library_is_the_one_that_is_built() -> None:
    """What an older installation has built is not taken for it."""
    assert library_file.FORM == rpc_backend.FORM
    assert rpc_backend.target("1").name == f"libggml-rpc-1-{library_file.FORM}.so"


def test_a_worker_lives_whoever_it_serves() -> None:
    with worker() as busy, socket.create_connection(("127.0.0.1", busy.port)) as client:
        _served(client)
        beats = Pulse(as_worker(busy.name))
        until(lambda: beats.heard() and beats.has_begun)
        until(lambda: not beats.heard())
        until(beats.heard)
        until(lambda: pulse.lives(as_worker(busy.name)))
        busy.stop()
        silence = Silence(PAUSE)
        until(lambda: silence.look(beats.heard()) > 1.2)
        assert not pulse.lives(as_worker(busy.name))
        busy.go_on()
        until(beats.heard)
        beats.close()


def _served(client: socket.socket) -> None:
    """From now on the worker serves this one, which asks nothing."""
    client.sendall(GREETING)
    assert len(client.recv(36, socket.MSG_WAITALL)) == 36


def test_who_has_left_takes_no_room() -> None:
    """A server that is started again and again asks a worker that is busy, and gives up, oftener than there is room."""
    with worker() as busy, socket.create_connection(("127.0.0.1", busy.port)) as client:
        _served(client)
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", busy.port), CEILING) as other:
                other.sendall(GREETING)
                other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # as greet does
        until(lambda: pulse.lives(as_worker(busy.name)))
        client.close()
        assert greet(as_worker(busy.name)).free


def test_who_says_nothing_keeps_nobody_from_a_worker() -> None:
    with worker() as only, socket.create_connection(("127.0.0.1", only.port)):
        assert greet(as_worker(only.name)).free


def test_a_worker_of_llama_cpp_s_own_gives_no_signs() -> None:
    """It closes the connection, as one that is no client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        beats = Pulse(Worker("a", *listener.getsockname()))
        client, _ = listener.accept()
        assert client.recv(1) == pulse.ALIVE and beats.heard() and not beats.has_begun
        client.close()
        until(lambda: beats.descriptor is None or not beats.heard())
        assert beats.heard() and not beats.has_begun and beats.descriptor is None


@contextmanager
def loading(model: Path, name: str) -> Iterator[subprocess.Popen]:
    """A process that loads the model, and has heard of the worker's life. It goes on when a line comes."""
    command = [sys.executable, "-c", LOADING, str(model), name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, **ENVIRONMENT}, **pipes) as process:
        try:
            assert process.stdout.readline() == "greeted\n"
            yield process
        finally:
            process.kill()


def test_a_worker_that_is_stopped_while_a_model_is_loaded(smollm: Path) -> None:
    with worker() as only, loading(smollm, only.name) as process:
        only.stop()
        _, said = process.communicate("go on\n", timeout=CEILING)
    assert process.returncode == 1
    assert f"the RPC worker at {only.name} has given no sign of life for 1." in said


def test_a_worker_that_lives_may_take_its_time(smollm: Path) -> None:
    """For twice as long as what nobody hears of is given; only when it is silent it is lost."""
    silent = threading.Event()
    with breathing(silent) as name, loading(smollm, name) as process:
        process.stdin.write("go on\n")
        process.stdin.flush()
        end = time.monotonic() + 2.0
        until(lambda: process.poll() is not None or time.monotonic() > end)
        silent.set()
        _, said = process.communicate(timeout=CEILING)
    assert process.returncode == 1
    assert f"the RPC worker at {name} has given no sign of life for 1." in said


@contextmanager
def breathing(silent: threading.Event) -> Iterator[str]:
    """Somebody who answers one greeting as a worker does, gives signs of life until an event, and answers nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                for answer in (hello(7), *of_one_device()):
                    client.recv(64)
                    client.sendall(answer)
                client.recv(64)
            client, _ = listener.accept()
            with client, suppress(ConnectionError):
                while not silent.wait(PAUSE):
                    client.sendall(pulse.ALIVE)
                while client.recv(64):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        silent.set()
        thread.join()
