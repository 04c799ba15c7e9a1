"""The backends of conversion, each in a virtual environment of its own: their pins exclude each other.

No engine needs to be installed here, so a machine that serves with one converts for both.

Where the running interpreter has a backend's module, it is the backend. Else an environment is made by pip under the
cache folder, once; its marker is written last, so that a half-made one is made again. Workers exchange files.
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

from nitro.convert import cache
from nitro.engines.client.process import ENVIRONMENT as THREADS
from nitro.errors import ConvertError
from nitro.system import signals

MARKER = "nitro-environment"
CHECKOUT = Path(__file__).parents[2]
RUN = Path(__file__).with_name("workers") / "run.py"
TICK = 0.2  # seconds between two looks at a worker's progress
# the last is all that llama.cpp's quantising says when it cannot write
NO_SPACE = re.compile(
    r"No space left on device|os error 28|ENOSPC|Disk quota exceeded|File too large|os error 27|iostream error"
)


@dataclass(frozen=True, slots=True)
class Backend:
    """`module`: whose presence here makes an environment of its own needless. `pins`: packages, as pip takes them."""

    pins: tuple[str, ...]
    module: str | None = None


def pinned(package: str) -> str:
    """`package==version`: the installed one, else the one that Nitro asks for."""
    try:
        return f"{package}=={metadata.version(package)}"
    except metadata.PackageNotFoundError:
        asked = (re.match(rf"{package}==([\w.]+)", line) for line in _wishes())
        return next((match[0] for match in asked if match), package)


def _wishes() -> list[str]:
    """Nitro's requirements; a checkout that is not installed has them in its pyproject.toml."""
    try:
        return metadata.requires("nitro") or []
    except metadata.PackageNotFoundError:
        project = tomllib.loads(CHECKOUT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
        return [wish for extra in project["optional-dependencies"].values() for wish in extra]


_TORCH = ("torch==2.13.0", "safetensors==0.8.0", "sentencepiece==0.2.3")
_MLX = "mlx[cpu]==0.32.4" if sys.platform == "linux" else "mlx==0.32.4"

BACKENDS = {
    "transformers": Backend((*_TORCH, "transformers==5.23.0", "numpy==2.4.6", "protobuf==7.36.2")),
    # gguf and msgspec are for Nitro's own conversions
    "mlx": Backend(
        (pinned("mlx-lm"), _MLX, "transformers==5.23.0", "numpy==2.4.6", "gguf==0.19.0", "msgspec==0.22.0"), "mlx_lm"
    ),
    "llama": Backend((pinned("llama-cpp-python"), "numpy==2.4.6", "gguf==0.19.0"), "llama_cpp"),
    # what llama.cpp's requirements-convert_hf_to_gguf.txt asks for; its gguf module lies beside the converter
    "converter": Backend(
        (*_TORCH, "transformers==4.57.6", "numpy==2.2.6", "protobuf==4.25.8", "pyyaml==6.0.3", "requests", "tqdm")
    ),
}


def python(backend: str, say: Callable[[str], None]) -> Path:
    """An interpreter that has the backend. `say` is told before minutes pass. Raises ConvertError."""
    wanted = BACKENDS[backend]
    if wanted.module and importlib.util.find_spec(wanted.module):
        return Path(sys.executable)
    root = cache.folder() / "environments"
    home, line = root / backend, _line(wanted)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{backend}.lock"):
            if not is_whole(home, line):
                say(f"making an environment with {wanted.pins[0]} and more in {home}; it takes minutes, once")
                _make(home, wanted.pins)
                (home / MARKER).write_text(line)
    except OSError as error:
        raise ConvertError(f"The environment in {home} cannot be made: {error.strerror or error}.") from None
    return home / "bin" / "python"


def is_whole(home: Path, line: str) -> bool:
    marker = home / MARKER
    return marker.is_file() and marker.read_text() == line and (home / "bin" / "python").exists()


def _line(backend: Backend) -> str:
    """Changes with whatever would make the environment another one."""
    facts = repr((backend.pins, sys.version_info[:2], sys.platform, os.path.realpath(sys.executable)))
    return hashlib.sha256(facts.encode()).hexdigest()


def _make(home: Path, pins: tuple[str, ...]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(home)], "a virtual environment cannot be made")
    # pip, since it finds torch's build for the CPU by the user's own settings
    _call([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *pins], "pip could not install " + pins[0])


def _call(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        last = (errors[-1] if errors else f"status {done.returncode}").removeprefix("ERROR: ")
        raise ConvertError(f"{what[0].upper()}{what[1:]}: {last}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of the lock when that process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(
    backend: str,
    worker: str,
    request: dict[str, Any],
    say: Callable[[str], None] = lambda line: None,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """A worker's answer; an `error` in it is raised as ConvertError. `tick` is called while it runs."""
    interpreter = python(backend, say)
    with tempfile.TemporaryDirectory(prefix="nitro-") as folder:
        asked, reply, errors = (Path(folder) / name for name in ("request.json", "reply.json", "stderr"))
        asked.write_text(json.dumps(request, default=str), encoding="utf-8")
        with errors.open("wb") as stderr:
            # -P: the folder of run.py is no place to import from
            process = subprocess.Popen(
                [str(interpreter), "-P", str(RUN), worker, str(asked), str(reply)],
                stdin=subprocess.PIPE,
                stdout=stderr,
                stderr=stderr,
                env=_environment(),
            )
            _wait(process, tick)
        said = errors.read_text(encoding="utf-8", errors="replace")
        if process.returncode != 0 or not reply.is_file():
            raise ConvertError(f"{worker} {_ended(process.returncode)}{_last(said)}")
        answer: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
    if "error" in answer:
        if NO_SPACE.search(answer["error"]):
            raise OSError(answer["errno"] or 28, "No space left on device")
        raise ConvertError(f"{answer['error']}".strip().rstrip(".") + ".")
    return answer


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> None:
    """Until it ends. Whatever comes between, Ctrl-C included, ends it."""
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
    """Nothing of the running interpreter's, and nothing from the Hub."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    return {**THREADS, **kept, **quiet}


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signals.name_of(-status)
    memory = "; there may be too little memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else "."
