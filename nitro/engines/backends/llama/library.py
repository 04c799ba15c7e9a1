"""llama.cpp beyond its API: its log, and the devices of ggml, for which llama-cpp-python has no bindings."""

import ctypes
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines.hardware.libraries import Build, Device
from nitro.engines.hardware.memory import MIB
from nitro.engines.last_words import OF_THIS_PROCESS
from nitro.system import packages

log = logging.getLogger("llama.cpp")

# The ggml that libllama is linked with. llama-cpp-python opens a second copy, and what is registered there, such as a
# backend or a device, libllama does not see.
LINKED = ("libggml.so.0", "libggml.0.dylib")


def _open_ggml() -> Any:
    folder = Path(lib.__file__).parent / "lib"
    for name in LINKED:
        if (folder / name).is_file():
            return ctypes.CDLL(str(folder / name))
    from llama_cpp._ggml import libggml

    return libggml


libggml = _open_ggml()

VERSION = packages.version("llama_cpp")  # of llama-cpp-python

ERROR = 4  # GGML_LOG_LEVEL_ERROR (ggml.h)
GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU, _IGPU (ggml-backend.h)
REMOTE = "RPC"  # ggml's name of the backend whose devices are on other machines
MAX_KEPT = 2**20  # characters of log
PLACE = re.compile(r"^\w+: (error loading model: )?")  # the function that logs it


class Log:
    """What llama.cpp logs from `capture_log` on. Some facts stand only there."""

    def __init__(self) -> None:
        self.first_error = ""  # of an attempt, and the most specific: the callers log afterwards that it failed
        self.last_error = ""
        self.text = ""

    def begin_attempt(self) -> None:
        """What is tried next may fail: errors of before are not the reason."""
        self.first_error = ""

    def add(self, level: int, line: str) -> None:
        """Keep a line, and pass it on to Python's log."""
        if level == ERROR:
            self.last_error = line.strip().rstrip(".") + "."
            OF_THIS_PROCESS.note(line)
            self.first_error = self.first_error or PLACE.sub("", self.last_error)
        if len(self.text) < MAX_KEPT:
            self.text += line
        log.debug("%s", line.rstrip())

    def offloaded(self) -> tuple[int, int] | None:
        """(layers on a GPU, layers, the output among them); None where it is not said. Where ggml has a GPU,
        llama.cpp always says it."""
        match = re.search(r"offloaded (\d+)/(\d+) layers", self.text)
        return (int(match[1]), int(match[2])) if match else None

    def ends(self) -> set[int] | None:
        """The end-of-generation tokens; None where they are not all said (llama-vocab.cpp, print_info)."""
        if len(self.text) >= MAX_KEPT or "max token length" not in self.text:  # which stands behind them
            return None
        return set(map(int, re.findall(r"EOG token += (\d+) '", self.text)))

    def kv_place(self) -> str:
        """Where the KV cache lies, a recurrent model's states included: "CUDA0, CPU"."""
        sizes = "\n".join(line for line in self.text.splitlines() if " buffer size " in line)
        return ", ".join(dict.fromkeys(re.findall(r"(\S+) +(?:KV|RS) buffer size", sizes)))

    def kv_bytes(self, start: int = 0) -> int:
        """Bytes of all KV buffers that were made since the log was so many characters long."""
        sizes = re.findall(r"KV buffer size = +([\d.]+) MiB", self.text[start:])
        return int(sum(map(float, sizes)) * MIB)


_current = Log()


def _on_line(level: int, text: bytes, _: Any) -> None:
    """One callback for the life of the process: llama.cpp keeps the pointer and may log at any time."""
    _current.add(level, text.decode(errors="replace"))


_callback = lib.llama_log_callback(_on_line)  # kept: llama.cpp holds a pointer to it
lib.llama_log_set(_callback, ctypes.c_void_p(0))


_explain: Callable[[str], str] = str  # the text as it is


def explain_aborts(explain: Callable[[str], str]) -> None:
    """Have what ggml says when it ends the process put in other words, or in the same."""
    global _explain
    _explain = explain


def _on_abort(message: bytes) -> None:
    """ggml is about to end the process, as where CUDA has no memory (ggml.c, ggml_abort)."""
    text = message.decode(errors="replace").strip()
    explained = _explain(text)
    if explained == text:
        OF_THIS_PROCESS.note(text)
    else:
        OF_THIS_PROCESS.replace(explained)
    log.error("%s", explained)


_abort_callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_on_abort)  # kept, too
if hasattr(libggml, "ggml_set_abort_callback"):
    libggml.ggml_set_abort_callback(_abort_callback)


def capture_log() -> Log:
    """A new log that gets every line from now on."""
    global _current
    _current = Log()
    lib.llama_log_set(_callback, ctypes.c_void_p(0))  # the package sets its own where something imports all of it
    return _current


def capture_media_log(mtmd: Any) -> None:
    """Let the log have the lines of libmtmd, too."""
    mtmd.mtmd_log_set(_callback, ctypes.c_void_p(0))
    mtmd.mtmd_helper_log_set(_callback, ctypes.c_void_p(0))


def resume_log(log: Log) -> None:
    """Let this log get every line again, after another model was loaded."""
    global _current
    _current = log


def build() -> Build:
    """What llama.cpp is built for and finds here. A backend that was built is listed even if it finds no device."""
    names = [_call("ggml_backend_reg_name", ctypes.c_char_p, handle).decode() for handle in _all("reg")]
    return Build("llama.cpp", f"llama-cpp-python {VERSION}", tuple(names), tuple(devices()))


def files() -> list[str]:
    """The library's files and their sizes: another build of one version may compute other numbers."""
    folder = Path(lib.__file__).parent / "lib"
    found = sorted(file for file in folder.glob("*") if file.is_file())
    return [f"{file.name} {file.stat().st_size}" for file in found]


def devices() -> list[Device]:
    """What ggml can compute on here, the CPU included, as it is now: `free` changes."""
    return [_device(handle) for handle in _all("dev") if not _is_remote(handle)]


def devices_elsewhere() -> list[Device]:
    """The same of other machines, as far as they are registered: each is asked."""
    return [_device(handle) for handle in remote_devices()]


def remote_devices() -> list[int]:
    """ggml's handles of the devices on other machines."""
    return [handle for handle in _all("dev") if _is_remote(handle)]


def own_gpus() -> list[int]:
    """ggml's handles of this machine's GPUs."""
    kinds = {handle: _call("ggml_backend_dev_type", ctypes.c_int, handle) for handle in _all("dev")}
    return [handle for handle, kind in kinds.items() if kind in GPU_TYPES and not _is_remote(handle)]


def buffer_types() -> dict[str, int]:
    """Where tensors can lie, by ggml's name: "CPU", "CUDA0"."""
    handles = [_call("ggml_backend_dev_buffer_type", ctypes.c_void_p, device) for device in _all("dev")]
    found = {_call("ggml_backend_buft_name", ctypes.c_char_p, handle).decode(): handle for handle in handles if handle}
    return {"CPU": _call("ggml_backend_cpu_buffer_type", ctypes.c_void_p), **found}


def _device(handle: int) -> Device:
    free = ctypes.c_size_t()
    total = ctypes.c_size_t()
    _call("ggml_backend_dev_memory", None, handle, ctypes.byref(free), ctypes.byref(total))
    name = _call("ggml_backend_dev_description", ctypes.c_char_p, handle).decode(errors="replace").strip()
    return Device(name, free.value, _call("ggml_backend_dev_type", ctypes.c_int, handle) in GPU_TYPES)


def _is_remote(handle: int) -> bool:
    registry = _call("ggml_backend_dev_backend_reg", ctypes.c_void_p, handle)
    return bool(_call("ggml_backend_reg_name", ctypes.c_char_p, registry).decode() == REMOTE)


def _all(kind: str) -> list[int]:
    """Handles of ggml's backends ("reg") or devices ("dev")."""
    count = _call(f"ggml_backend_{kind}_count", ctypes.c_size_t)
    return [_call(f"ggml_backend_{kind}_get", ctypes.c_void_p, ctypes.c_size_t(i)) for i in range(count)]


def _call(name: str, result: Any, handle: Any = None, *more: Any) -> Any:
    """A function of ggml-backend.h; its first argument, where there is one, is a pointer (int) or a ctypes value."""
    function = libggml[name]  # an own object each time: nobody else's restype is changed
    function.restype = result
    arguments = [] if handle is None else [ctypes.c_void_p(handle) if isinstance(handle, int) else handle]
    return function(*arguments, *more)
