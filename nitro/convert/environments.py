"""The backends of conversion, each in a virtual environment of its own, since their pins exclude each other.

No engine has to be installed, so that a machine that serves with one can convert for both.

Where the running interpreter has a backend's module, it is used. Otherwise pip makes an environment under the cache
folder, once. Its marker is written last, so that an incomplete one is made again. Requests and replies are files.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from nitro.engines.client.spawn import ENVIRONMENT as THREADS
from nitro.engines.hardware.memory import physical_cores
from nitro.errors import ConvertError
from nitro.system import folders, signals

MARKER = "nitro-environment"
CHECKOUT = Path(__file__).parents[2]
WORKER_SCRIPT = Path(__file__).with_name("workers") / "run.py"
TICK = 0.2  # seconds between two checks of a worker's progress
# the last is all that llama.cpp's quantisation reports when it cannot write
NO_SPACE = re.compile(
    r"No space left on device|os error 28|ENOSPC|Disk quota exceeded|File too large|os error 27|iostream error"
)


@dataclass(frozen=True, slots=True)
class Backend:
    """`pins`: packages, as pip takes them. `module`: if the running interpreter has it, no environment is needed."""

    pins: tuple[str, ...]
    module: str | None = None


def pinned(package: str) -> str:
    """`package==version`: the installed version, or else the one that Nitro requires."""
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:
        matches = (re.match(rf"{package}==([\w.]+)", line) for line in _requirements())
        return next((match[0] for match in matches if match), package)


def _requirements() -> list[str]:
    """Nitro's requirements; those of a checkout that is not installed are in its pyproject.toml."""
    try:
        return metadata.requires("nitro") or []
    except metadata.PackageNotFoundError:
        project = tomllib.loads(CHECKOUT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
        return [line for extra in project["optional-dependencies"].values() for line in extra]


_TORCH = ("torch==2.13.0", "safetensors==0.8.0", "sentencepiece==0.2.3")
_MLX = "mlx[cpu]==0.32.3" if sys.platform == "linux" else "mlx==0.32.3"

BACKENDS = {
    "transformers": Backend((*_TORCH, "transformers==5.23.0", "numpy==2.4.6", "protobuf==7.36.2")),
    # gguf and msgspec are for Nitro's own conversions
    "mlx": Backend(
        (pinned("mlx-lm"), _MLX, "transformers==5.23.0", "numpy==2.4.6", "gguf==0.19.0", "msgspec==0.22.0"), "mlx_lm"
    ),
    "llama": Backend((pinned("llama-cpp-python"), "numpy==2.4.6", "gguf==0.19.0"), "llama_cpp"),
    # as in llama.cpp's requirements-convert_hf_to_gguf.txt; its gguf module lies beside the converter
    "converter": Backend(
        (*_TORCH, "transformers==4.57.6", "numpy==2.2.6", "protobuf==4.25.8", "pyyaml==6.0.3", "requests", "tqdm")
    ),
}


def python(name: str, notify: Callable[[str], None]) -> Path:
    """An interpreter that has the backend, a key of BACKENDS. `notify` is called before an environment is made, which
    takes minutes. Raises ConvertError."""
    backend = BACKENDS[name]
    if backend.module and importlib.util.find_spec(backend.module):
        return Path(sys.executable)
    root = folders.cache() / "environments"
    home = root / name
    marker = _marker(backend)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{name}.lock"):
            if not is_complete(home, marker):
                notify(f"making an environment with {backend.pins[0]} in {home}; this takes minutes, but only once")
                _make(home, backend.pins)
                (home / MARKER).write_text(marker)
    except OSError as error:
        raise ConvertError(f"The environment in {home} cannot be made: {error.strerror or error}.") from None
    return home / "bin" / "python"


def has(interpreter: Path, module: str) -> bool:
    """Can this interpreter import a module?"""
    command = [str(interpreter), "-c", f"import {module}"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def is_complete(home: Path, marker: str) -> bool:
    """Is there an environment, made completely and with this marker?"""
    file = home / MARKER
    return file.is_file() and file.read_text() == marker and (home / "bin" / "python").exists()


def _marker(backend: Backend) -> str:
    """Changes with everything that the environment depends on."""
    inputs = repr((backend.pins, sys.version_info[:2], sys.platform, os.path.realpath(sys.executable)))
    return hashlib.sha256(inputs.encode()).hexdigest()


def _make(home: Path, pins: tuple[str, ...]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(home)], "a virtual environment cannot be made")
    # pip, since the user's settings for it may name torch's build for the CPU
    _call([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *pins], "pip could not install " + pins[0])


def _call(command: list[str], failure: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        last = (errors[-1] if errors else f"status {done.returncode}").removeprefix("ERROR: ")
        raise ConvertError(f"{failure[0].upper()}{failure[1:]}: {last}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The system releases the lock when the process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(
    backend: str,
    worker: str,
    request: dict[str, Any],
    notify: Callable[[str], None] = lambda line: None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run a worker, a module of workers/, in a backend's environment, and return its reply. Its request gets `threads`.

    `tick` is called while it runs. Raises ConvertError with the worker's error, OSError where the disk is full.
    """
    interpreter = python(backend, notify)
    with tempfile.TemporaryDirectory(prefix="nitro-") as folder:
        request_file, reply_file, output = (Path(folder) / name for name in ("request.json", "reply.json", "output"))
        request_file.write_text(json.dumps({**request, "threads": physical_cores()}, default=str), encoding="utf-8")
        with output.open("wb") as stream:
            # -P: nothing is imported from the folder of run.py
            process = subprocess.Popen(
                [str(interpreter), "-P", str(WORKER_SCRIPT), worker, str(request_file), str(reply_file)],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                env=_environment(),
            )
            _wait(process, tick)
        printed = output.read_text(encoding="utf-8", errors="replace")
        if process.returncode != 0 or not reply_file.is_file():
            raise ConvertError(f"{worker} {_ended(process.returncode)}{_last_line(printed)}")
        reply: dict[str, Any] = json.loads(reply_file.read_text(encoding="utf-8"))
    if "error" in reply:
        if NO_SPACE.search(reply["error"]):
            raise OSError(reply["errno"] or 28, "No space left on device")
        raise ConvertError(f"{reply['error']}".strip().rstrip(".") + ".")
    return reply


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
    """Wait until it ends. Any exception meanwhile, such as Ctrl-C, kills it."""
    try:
        while True:
            try:
                process.wait(TICK)
                return
            except subprocess.TimeoutExpired:
                tick()
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _environment() -> dict[str, str]:
    """Without the running interpreter's paths, and without access to the Hub."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    return {**THREADS, **inherited, **quiet}


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signals.name_of(-status)
    memory = "; there may be too little memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


def _last_line(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else "."
