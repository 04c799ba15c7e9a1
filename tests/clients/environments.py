"""An environment per client, in the cache folder, made once: what is pinned beside a program, and nothing of ours.

A digest of the pins is written last, so that a half-made environment, or one of other pins, is made again.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from nitro.system import folders

MARKER = "nitro-environment"
TIME_LIMIT = 600  # seconds, for what may hang


def python(folder: Path) -> Path:
    """The interpreter of an environment with `requirements.txt`."""
    home = _made(folder, ["requirements.txt"], _make_python)
    return home / "bin" / "python"


def node(folder: Path) -> Path:
    """A folder with `package.json`, its lock, and `node_modules`."""
    return _made(folder, ["package.json", "package-lock.json"], _make_node)


def _make_python(home: Path) -> list[list[str]]:
    # what is compiled when it is imported is a tenth of all
    options = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", *options]
    return [[sys.executable, "-m", "venv", str(home)], [*pip, "-r", str(home / "requirements.txt")]]


def _make_node(home: Path) -> list[list[str]]:
    return [["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(home)]]


def _made(folder: Path, names: list[str], commands) -> Path:
    files = [folder / name for name in names]
    root = folders.cache() / "clients"
    home, digest = root / folder.name, _digest(files)
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context((root / f"{folder.name}.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go of by the system when this process ends
        marker = home / MARKER
        if not (marker.is_file() and marker.read_text() == digest):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            for file in files:
                shutil.copy(file, home)
            for command in commands(home):
                _call(command)
            marker.write_text(digest)
    return home


def _digest(files: Iterable[Path]) -> str:
    facts = repr((sys.version_info[:2], sys.platform, os.path.realpath(sys.executable)))
    return hashlib.sha256(b"\0".join([facts.encode(), *(file.read_bytes() for file in files)])).hexdigest()


def _call(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIME_LIMIT)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"


def run(program: Path, scratch: Path, settings: dict[str, str], client: Path | None = None) -> tuple[int, str]:
    """Status and output of a client's program in its environment; it sees `settings`, and next to nothing of ours.

    JavaScript looks for packages from where its file lies, so it runs as a copy beside them. `client`: the folder whose
    environment it is; by default the program's own.
    """
    client = client or program.parent
    if program.suffix == ".sh":
        command = ["sh", "-e", str(program)]
    elif program.suffix == ".py":
        command = [str(python(client)), str(program)]
    else:
        home = node(client)
        copies = [shutil.copy(file, home) for file in (program, *program.parent.parent.glob("*.mjs"))]
        command = ["node", str(copies[0])]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "PYTHONPATH": str(program.parent.parent),  # steps.py
        "PYTHONPYCACHEPREFIX": str(folders.cache() / "clients" / "pycache"),  # not in the checkout
        "HF_HUB_OFFLINE": "1",
        **settings,
    }
    with subprocess.Popen(
        command,
        env=variables,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=TIME_LIMIT)
        finally:
            with suppress(ProcessLookupError):  # nothing that it started is left
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said
