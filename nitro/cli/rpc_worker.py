"""`nitro rpc-worker`: this machine holds layers of a model that another one serves."""

import os
import sys

import click

from nitro.errors import StartError
from nitro.system import terminal

WORKER = "nitro.engines.backends.llama.remote.worker"
DEFAULT_PORT = 50052  # llama.cpp's own


@click.command(name="rpc-worker")
@click.option("--host", help="Address to listen on, IPv4.", default="127.0.0.1", show_default=True)
@click.option("--port", help="Port to listen on. 0: any free one.", type=click.IntRange(0, 65535), default=DEFAULT_PORT)
@click.option("--memory", help="Memory to offer, in MiB or as in 12G. Default: what is free, or what the GPUs have.")
@click.option("--threads", help="CPU threads. Default: one per physical core.", type=click.IntRange(1))
@click.option(
    "--insecure-network",
    "--rpc-insecure-network",
    "insecure",
    help="Listen where other machines reach it, without authentication and encryption.",
    is_flag=True,
)
def rpc_worker(host: str, port: int, memory: str | None, threads: int | None, insecure: bool) -> None:
    """Hold layers of a model that `nitro serve --rpc` serves, on this machine's GPUs or, without one, its processor.

    One server at a time. Ctrl-C ends it.
    """
    try:
        address, offered = _address(host, insecure), _offered(memory)
    except StartError as error:
        terminal.say(f"nitro: {error}", err=True)
        sys.exit(1)
    from nitro.engines.client.spawn import ENVIRONMENT

    command = [sys.executable, "-P", "-m", WORKER, address, *map(str, (port, offered, threads or 0))]
    os.execve(sys.executable, command, {**ENVIRONMENT, **os.environ})


def _address(host: str, insecure: bool) -> str:
    from nitro.engines.remote import workers

    try:
        address = workers.resolve(host)
    except workers.BadWorkers as error:
        raise StartError(f"--host {error}") from None
    if not insecure and not workers.is_local(address):
        raise StartError(
            f"--host {host}: llama.cpp's RPC has neither authentication nor encryption: whoever reaches the worker can "
            f"use it and read what is computed. Listen on 127.0.0.1 behind a tunnel (ssh -L, WireGuard), or say "
            f"--insecure-network."
        )
    return address


def _offered(text: str | None) -> int:
    """Bytes; 0: what there is."""
    from nitro.system import memory

    try:
        offered = memory.parse(text) if text else 0
    except ValueError as error:
        raise StartError(f"--memory {text}: {error}.") from None
    if text and not offered:
        raise StartError("--memory 0 offers nothing.")
    return offered
