"""Starts the process of a rank: here, or on another machine by ssh, as mlx.launch does.

What mlx.launch runs on the other side is a script that makes a file of the process's id and files for MLX. Here both go
over the connection to rank 0, and what is left is to go to the same folder and to start Python.
"""

import ctypes
import io
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from nitro.engines.backends.mlx.ranks.wire import Errand
from nitro.engines.hostfile import Host
from nitro.system.spawn import ENTRY

FOLLOWER = "nitro.engines.backends.mlx.ranks.follower"
TIED = "nitro.engines.backends.mlx.ranks.starting"  # whose main runs a command that ends with us
PR_SET_PDEATHSIG = 1  # prctl(2)
READY = "nitro: the rank is expected"  # said on the other machine once its terminal repeats nothing
# -tt: a terminal, so that what runs there is hung up when ssh ends. BatchMode: nobody is there to type a password. It
# ends by itself when the other machine answers no more for eight seconds.
SSH = (
    *("ssh", "-tt", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=8"),
    *("-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"),
)


def start(host: Host, errand: Errand, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The rank's process, or the ssh that leads to it. It ends when this process does. `environment`: variables for it
    beside ours. Raises OSError."""
    python = [sys.executable, "-P", "-m", ENTRY]
    if host.is_here:
        command = [*python, FOLLOWER]
    else:
        command = [*python, TIED, *SSH, host.ssh, _script([*python, FOLLOWER], environment)]
    said = None if host.is_here else subprocess.PIPE
    environment = {**os.environ, **environment}
    process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=said, env=environment)
    if process.stdout:
        threading.Thread(target=_hand_over, args=(process, errand), name="rank's words", daemon=True).start()
    else:
        _tell(process, errand)
    return process


def _tell(process: subprocess.Popen[bytes], errand: Errand) -> None:
    assert process.stdin
    with suppress(OSError, ValueError):  # it has ended already, which is seen later
        process.stdin.write(msgspec.json.encode(errand) + b"\n")


def _hand_over(process: subprocess.Popen[bytes], errand: Errand) -> None:
    """Tell the errand as soon as the other terminal does not repeat it: our log would have the secret. What is said
    else goes where our own words go."""
    assert process.stdout
    with io.BufferedReader(process.stdout) as words:  # type: ignore[type-var]  # a FileIO, without bufsize
        for line in words:
            if line.strip().endswith(READY.encode()):
                _tell(process, errand)
                continue
            with suppress(OSError):
                os.write(1, line)


def _script(command: list[str], environment: Mapping[str, str]) -> str:
    """For the shell of the other machine."""
    folder = shlex.quote(os.getcwd())
    variables = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
    ready = f"stty -echo; echo {shlex.quote(READY)}; cd {folder} 2>/dev/null"
    return f"{ready}; exec env {variables} {shlex.join(command)}"


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends, even if it is stopped. On Linux; elsewhere it ends by
    its connection, unless it is stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run the command in the arguments in place of this process. SIGTERM is the server's business, also where systemd
    sends it to all of a service: ssh leaves it ignored."""
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execvp(sys.argv[1], sys.argv[1:])
