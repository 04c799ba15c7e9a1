"""MLX as it is on this machine: its build, its device and memory, and the limits that it keeps to."""

import importlib
import os
from importlib.metadata import version

import mlx.core as mx

from nitro.engines.hardware import memory
from nitro.engines.hardware.libraries import Build, Device
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

# MLX keeps freed memory for reuse: at most this many bytes, or this share of the machine's memory.
MAX_REUSE_BYTES = 2 * 2**30
REUSE_SHARE = 16
CPU_REUSE_BYTES = 16 * 2**20  # there widened weights filled 57 MiB


def build() -> Build:
    """What MLX is built for and finds here. Raises what importing mlx-lm raises: the engine needs both."""
    importlib.import_module("mlx_lm.utils")
    gpu = gpu_kind()
    device = Device(device_name(), free_memory(), bool(gpu))
    return Build("MLX", version("mlx"), (gpu, "CPU") if gpu else ("CPU",), (device,))


def gpu_kind() -> str:
    """By what MLX computes on a GPU: "Metal" or "CUDA". Empty on the CPU."""
    if mx.metal.is_available():
        return "Metal"
    return "CUDA" if mx.default_device().type == mx.DeviceType.gpu else ""


def device_name() -> str:
    """The name of what MLX computes on."""
    return str(mx.device_info()["device_name"])


def free_memory() -> int:
    """Bytes that are free for KV caches: of what Metal recommends to use, or in main memory."""
    if mx.metal.is_available():
        return max(_metal_memory() - mx.get_active_memory(), 0)
    return memory.free_host_memory()


def check_gpu(spec: EngineSpec) -> None:
    """Raises LoadError where --require-gpu cannot be met."""
    if spec.require_gpu and not gpu_kind():
        raise LoadError("--require-gpu cannot be met. MLX finds no Metal here, and would compute on the CPU.")


def check_deterministic(spec: EngineSpec) -> None:
    """Raises LoadError where --deterministic is not known to hold."""
    if spec.deterministic and mx.default_device().type != mx.DeviceType.cpu:
        raise LoadError("--deterministic is for the CPU; of MLX on a GPU it is not known to hold. Leave it out.")


def set_limits(spec: EngineSpec) -> None:
    """Set the memory limits of this process. Raises LoadError where --wired-limit cannot be met.

    Wired memory is left alone unless --wired-limit asks for it: raising its limit has brought whole Macs down under
    load (mlx#3186).
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    mx.set_cache_limit(min(MAX_REUSE_BYTES, total // REUSE_SHARE) if gpu_kind() else CPU_REUSE_BYTES)
    if spec.wired_limit == "off":
        return
    if not mx.metal.is_available():
        raise LoadError("--wired-limit needs MLX on Metal, which this machine does not have.")
    allowed = _metal_memory()
    wired = allowed if spec.wired_limit == "recommended" else int(spec.wired_limit) * memory.MIB
    if wired > allowed:
        raise LoadError(f"--wired-limit {spec.wired_limit} is more than this Mac allows, {allowed // memory.MIB} MiB.")
    mx.set_wired_limit(wired)


def _metal_memory() -> int:
    """Bytes that Metal recommends to use at most."""
    return int(mx.device_info()["max_recommended_working_set_size"])
