"""Workers of llama.cpp's RPC for tests, as processes of their own."""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import fast
import pytest
from running import PIPES

from nitro.engines.remote import library_file


class WorkerProcess:
    """`nitro rpc-worker` on a free port, or on this one."""

    def __init__(self, *arguments: str, port: int = 0):
        fast.skip_server()
        if library_file.find() is None:
            pytest.skip("llama.cpp's backend for RPC is not built here")
        command = [sys.executable, "-P", "-m", "nitro", "rpc-worker", "--threads", "1", "--port", str(port), *arguments]
        self.process = subprocess.Popen(command, text=True, **PIPES)
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if match := re.search(r"listens on +(\S+)", line):
                self.name = match[1]
                break
        else:
            raise AssertionError("the worker ended before it listened:\n" + "".join(self.said))
        self.port = int(self.name.rpartition(":")[2])

    def end(self, number: int = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        if number != signal.SIGKILL:
            self.process.send_signal(signal.SIGCONT)
        code = self.process.wait()
        self.process.stderr.close()
        return code

    def stop(self) -> None:
        """It computes and answers no more, and keeps its connections."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def worker(*arguments: str, port: int = 0) -> Iterator[WorkerProcess]:
    process = WorkerProcess(*arguments, port=port)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end()


@contextmanager
def pretender(answer: bytes | None) -> Iterator[str]:
    """Somebody who listens: answers the first bytes that come with these, or never. b"": closes instead."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = []

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                    if answer is not None:
                        client.recv(64)
                        client.sendall(answer)
                        client.close()
                    held.append(client)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for client in held:
            client.close()


def hello(major: int, minor: int = 0, patch: int = 0) -> bytes:
    """What a worker of that protocol says."""
    return struct.pack("<Q4B24x", 28, major, minor, patch, 0)


def of_one_device() -> list[bytes]:
    """What a worker says that offers much."""
    return [struct.pack("<QI", 4, 1), struct.pack("<QQQ", 16, 2**40, 2**40)]


@contextmanager
def stalling() -> Iterator[str]:
    """Somebody who answers one greeting as a worker does, and nobody after that."""
    answers = [hello(7), *of_one_device()]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                for answer in answers:
                    client.recv(64)
                    client.sendall(answer)
                client.recv(64)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()
