"""How much memory is free where an engine would put a model: the GPU's where it computes on one, else the main one.

Found without loading an engine's library. NVIDIA's GPUs are asked for with nvidia-smi, as nitro doctor does.
"""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

from nitro.engines.options import EngineOptions
from nitro.models import openers
from nitro.models.stored_model import StoredModel
from nitro.system.memory import free_host_memory

MIB = 2**20
TIMEOUT = 20.0  # seconds that nvidia-smi has
NONE_VISIBLE = ("", "-1")


def free(model: StoredModel | None = None, options: EngineOptions | None = None) -> int:
    """Bytes free for this model, or for most."""
    engine = options.engine if options and options.engine != "auto" else None
    if engine is None:
        engine = next(iter(openers.of(model)), openers.LLAMA) if model else next(iter(openers.installed()), "")
    if options and (found := on_workers(options)):
        return found + _own_gpus(options)
    on_cpu = options is not None and options.gpu_layers == 0
    if engine == openers.LLAMA and not on_cpu and _llama_has_cuda():
        return gpu_memory() or free_host_memory()
    return free_host_memory()


def free_on_gpu(options: EngineOptions) -> int:
    """Bytes free on the GPUs that llama.cpp computes on with these options, and on the workers of --rpc; 0: it computes
    on none, or they do not answer."""
    return _own_gpus(options) + on_workers(options)


def on_workers(options: EngineOptions) -> int:
    """Bytes that the workers of --rpc offer; 0 where there are none, or one cannot be used now."""
    if options.rpc is None:
        return 0
    from nitro.engines.remote import greeting, workers

    try:
        found = workers.parse(options.rpc, options.takes_any_network)
        return sum(sum(greeting.greet(worker).free) for worker in found)
    except (workers.BadWorkers, greeting.WorkerFault):
        return 0


def _own_gpus(options: EngineOptions) -> int:
    if options.gpu_layers == 0 or options.engine not in ("auto", openers.LLAMA) or not _llama_has_cuda():
        return 0
    return gpu_memory()


def gpu_memory() -> int:
    """Bytes free on all NVIDIA GPUs that programs may use here; 0 where there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in NONE_VISIBLE:
        return 0
    which = [f"--id={visible.strip()}"] if visible else []
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits", *which]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(int(line) * MIB for line in done.stdout.split() if line.isdigit())


def _llama_has_cuda() -> bool:
    """Whether llama.cpp is a build with CUDA: its library for that lies beside the others."""
    spec = find_spec("llama_cpp")
    folders = (spec.submodule_search_locations or []) if spec else []
    return any(any(Path(folder, "lib").glob("*ggml-cuda*")) for folder in folders)
