"""A `nitro serve` of our own on a free port, which ends with this process, whatever ends it."""

import os
import queue
import re
import secrets
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Self

from nitro.chat.client import Client
from nitro.errors import ChatError

ENTRY = "nitro.cli.bound"  # the module that runs
PATIENCE = 15.0  # seconds that it has to end before it is killed
MAX_LINES = 20  # of its log that are kept
NOT_FOR_IT = {  # variables of a server that others reach
    "NITRO_API_KEY_FILE",
    "NITRO_ROOT_PATH",
    "NITRO_TLS_CERT",
    "NITRO_TLS_KEY",
    "NITRO_TRUST_PROXY",
    "NITRO_UDS",
    "NITRO_UDS_MODE",
}
READY = re.compile(r"^\s*URL\s+(\S+?)(/v1)?$")


class OwnServer:
    """A server with a key that nobody else knows. As a context it is ended at the end."""

    def __init__(self, model: str | None, config: Path | None = None):
        """Start it. `model`: what `nitro serve` takes as MODEL. `config`: its file with settings; None: the usual."""
        self._key = secrets.token_urlsafe()
        reading, self._lifeline = os.pipe()
        arguments = ["serve", "--host", "127.0.0.1", "--port", "0", *(["--", model] if model else [])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", ENTRY, str(reading), *arguments],
                pass_fds=(reading,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=self._environment(config),
                start_new_session=True,  # a Ctrl-C in the terminal stops the answer, not the server
            )
        finally:
            os.close(reading)
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._ready: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # its URL; None: it has ended
        threading.Thread(target=self._read, name="log of the server", daemon=True).start()

    def client(self) -> Client:
        """A client of it, as soon as its model is loaded. Raises ChatError, which says why it cannot be."""
        url = self._ready.get()
        if url is None:
            line = self._lines[-1] if self._lines else "it ended without a word."
            raise ChatError(line.removeprefix("nitro: ").removeprefix("Error: "))
        return Client(url, self._key)

    @property
    def ended(self) -> str | None:
        """How it has ended by itself, as a sentence; None: it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = f"was killed by signal {-status}" if status < 0 else f"has ended with status {status}"
        return f"The server of this chat {how}; start it again."

    def close(self) -> None:
        """End it, and wait until it is gone."""
        if self._lifeline != -1:
            os.close(self._lifeline)
            self._lifeline = -1
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _environment(self, config: Path | None) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_IT}
        environment["NITRO_API_KEY"] = self._key
        if config:
            environment["NITRO_CONFIG"] = str(config)
        return environment

    def _read(self) -> None:
        assert self._process.stderr
        with self._process.stderr as stream:
            for data in stream:
                line = data.decode(errors="replace").rstrip()
                self._lines.append(line)
                if found := READY.match(line):
                    self._ready.put(found[1])
        self._ready.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
