"""A worker: offers this machine's GPUs or its CPU to one server at a time, until a signal ends it. `nitro rpc-worker`
becomes this process: HOST PORT MEMORY THREADS, the last two numbers, 0 for what is usual."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nitro import __version__
from nitro.engines.backends.llama.remote import backend
from nitro.engines.backends.llama.remote.backend import RpcBackend
from nitro.engines.backends.llama.remote.connections import keep_clients_alive
from nitro.engines.hardware import memory
from nitro.engines.remote import greeting
from nitro.engines.remote.greeting import WorkerFault
from nitro.engines.remote.workers import Worker, is_local
from nitro.engines.runner import LoadError
from nitro.system import signals, terminal
from nitro.system.held_port import held_port

GIB = 2**30
LISTENS = 30.0  # seconds until it has to
SOON = 1.0  # seconds: a library that gives up so soon does not listen at all


def main() -> None:
    """See above. Exit status 1: it cannot be a worker."""
    host, port, offered, threads = sys.argv[1], *map(int, sys.argv[2:5])
    signals.hold()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        with own_port(host, port) as own:
            run(host, own, offered, threads or memory.physical_cores())
    except (LoadError, WorkerFault) as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)


@contextmanager
def own_port(host: str, port: int) -> Iterator[int]:
    """The port, or a free one for 0, for the library to listen on. Raises LoadError where nobody can listen there."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(held_port(host, port))
        except OSError as error:
            raise LoadError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
        yield found


def run(host: str, port: int, offered: int, threads: int) -> None:
    """Serve until a signal comes. Raises LoadError, WorkerFault."""
    library = RpcBackend()
    devices = backend.own_devices()
    if offered or not any(is_gpu for _, _, is_gpu in devices):  # ggml takes all memory of a machine for free
        library.offer(offered or memory.free_host_memory())
    say = sys.stdout.fileno()
    os.dup2(os.open(os.devnull, os.O_WRONLY), say)  # the library prints a line for each of its clients
    failed = threading.Event()
    handles = [handle for handle, _, _ in devices]
    threading.Thread(target=_serve, args=(library, f"{host}:{port}", threads, handles, failed), daemon=True).start()
    here = Worker(f"{host}:{port}", "127.0.0.1" if host == "0.0.0.0" else host, port)
    offer = _listening(here, library.protocol, failed)
    keep_clients_alive(port)
    terminal.say(f"Nitro {__version__}: a worker for llama.cpp's RPC", err=True, bold=True)
    for (_, name, is_gpu), free in zip(devices, offer.free, strict=True):
        terminal.facts({"GPU" if is_gpu else "CPU": f"{name}, offers {free / GIB:.1f} GiB"}, err=True)
    terminal.facts({"protocol": greeting.written(offer.protocol), "listens on": here.name}, err=True)
    if not is_local(here.address) or host == "0.0.0.0":
        terminal.say(
            "WARNING: whoever reaches this address can use this worker and read what is computed; it has no "
            "authentication.",
            err=True,
        )
    while signal.sigwait((*signals.STOP_SIGNALS, signals.AGAIN)) == signals.AGAIN:
        pass
    os._exit(0)  # the library's thread waits for clients for ever


def _serve(library: RpcBackend, endpoint: str, threads: int, devices: list[int], failed: threading.Event) -> None:
    """Again where the library has given up: some systems tell a listener of a client that left, and it ends then."""
    while True:
        began = time.monotonic()
        library.serve(endpoint, threads, devices)
        if time.monotonic() - began < SOON:
            failed.set()
            return


def _listening(here: Worker, protocol: greeting.Protocol, failed: threading.Event) -> greeting.Offer:
    """What it offers, as a client sees it, as soon as it listens. Raises LoadError, WorkerFault."""
    end = time.monotonic() + LISTENS
    while True:
        try:
            return greeting.greet(here, protocol)
        except WorkerFault:
            if failed.wait(0.05):
                raise LoadError(f"{here.name} cannot be listened on.") from None
            if time.monotonic() > end:
                raise


if __name__ == "__main__":
    main()
