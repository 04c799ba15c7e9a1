"""The RPC backend, loaded into the ggml that llama.cpp uses, and the workers that are registered with it.

It has no bindings. `ggml_backend_reg_get_proc_address` gives its two functions (ggml-rpc.h, llama-cpp-python 0.3.36):

    ggml_backend_reg_t ggml_backend_rpc_add_server(const char * endpoint)
    void ggml_backend_rpc_start_server(const char * endpoint, const char * cache_dir, size_t n_threads,
                                       size_t n_devices, ggml_backend_dev_t * devices)

and ours are in scripts/ggml_rpc/.
"""

import ctypes
from typing import Any

from nitro.engines.backends.llama.library import libggml
from nitro.engines.remote import library_file
from nitro.engines.remote.greeting import Protocol
from nitro.engines.runner import LoadError

GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU, _IGPU (ggml-backend.h)
CPU_TYPE = 0


class RpcBackend:
    """The library. Made once in a process."""

    def __init__(self) -> None:
        """Raises LoadError where it is not installed, or does not load."""
        path = library_file.find()
        if path is None:
            raise LoadError(f"--rpc cannot be used: {library_file.why_not()}")
        load = _function("ggml_backend_load", ctypes.c_void_p, ctypes.c_char_p)
        self._registry = load(str(path).encode())
        if not self._registry:
            raise LoadError(f"--rpc cannot be used: {path} does not load. make clean and make install build it again.")
        self._ours = ctypes.CDLL(str(path))

    @property
    def protocol(self) -> Protocol:
        """That it speaks."""
        self._ours.nitro_rpc_protocol.restype = ctypes.c_uint32
        number = int(self._ours.nitro_rpc_protocol())
        return number >> 16, number >> 8 & 255, number & 255

    def add(self, endpoint: str) -> list[str]:
        """Register a worker that is there: the process ends where it is not. Returns ggml's names of its devices."""
        add = self._address("ggml_backend_rpc_add_server", ctypes.c_void_p, ctypes.c_char_p)
        registered = add(endpoint.encode())
        if not registered:
            raise LoadError(f"The RPC worker at {endpoint} has no devices.")
        _function("ggml_backend_register", None, ctypes.c_void_p)(registered)
        count = _function("ggml_backend_reg_dev_count", ctypes.c_size_t, ctypes.c_void_p)(registered)
        device = _function("ggml_backend_reg_dev_get", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        name = _function("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
        return [name(device(registered, i)).decode() for i in range(count)]

    def offer(self, size: int) -> None:
        """As a worker, offer so many bytes."""
        self._ours.nitro_rpc_offer.argtypes = (ctypes.c_size_t,)
        self._ours.nitro_rpc_offer(size)

    def serve(self, endpoint: str, threads: int, devices: list[int]) -> None:
        """Be a worker with these devices of ggml. Returns only where it cannot listen, or no longer."""
        kinds = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
        start = self._address("ggml_backend_rpc_start_server", None, *kinds)
        start(endpoint.encode(), None, threads, len(devices), (ctypes.c_void_p * len(devices))(*devices))

    def _address(self, name: str, result: Any, *arguments: Any) -> Any:
        find = _function("ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
        return ctypes.CFUNCTYPE(result, *arguments)(find(self._registry, name.encode()))


def own_devices() -> list[tuple[int, str, bool]]:
    """Of this machine, what a worker offers: its GPUs or, where there are none, the CPU. ggml's device, its
    description, and whether it is a GPU."""
    count = _function("ggml_backend_dev_count", ctypes.c_size_t)()
    get = _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    describe = _function("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    found = [(device, kind(device)) for device in map(get, range(count))]
    chosen = [each for each in found if each[1] in GPU_TYPES] or [each for each in found if each[1] == CPU_TYPE]
    return [(device, describe(device).decode(errors="replace").strip(), of in GPU_TYPES) for device, of in chosen]


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml-backend.h."""
    function = libggml[name]  # an own object each time
    function.restype, function.argtypes = result, arguments
    return function
