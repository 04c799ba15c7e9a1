"""GPU or CPU: what llama.cpp can use on this machine, and where it has put a model's layers."""

import logging
from dataclasses import dataclass, field

from nitro.engines.backends.llama import library
from nitro.engines.backends.llama.library import Log
from nitro.engines.hardware import nvidia
from nitro.engines.hardware.gpu_findings import why_no_gpu
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

log = logging.getLogger("llama.cpp")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the layers lie. On a GPU llama.cpp counts the output as one more layer."""

    gpu_layers: int
    layers: int
    remote: dict[str, int] = field(default_factory=dict)  # of the GPUs' layers those on other machines, by worker

    @property
    def on_gpu(self) -> bool:
        """Whether any layer lies on a GPU. The KV cache lies on it then, and attention computes as GPUs do."""
        return self.gpu_layers > 0

    def __str__(self) -> str:
        if self.remote:
            places = {**self.remote, "the GPU": self.gpu_layers - sum(self.remote.values())}
            places["the CPU"] = self.layers - self.gpu_layers
            return ", ".join(f"{count} on {place}" for place, count in places.items() if count)
        return f"{self.gpu_layers} of {self.layers} on the GPU" if self.on_gpu else f"all {self.layers} on the CPU"


def find_gpu(spec: EngineSpec) -> bool:
    """Whether layers are to be put on a GPU. Called before the weights are read, which may take minutes.

    Warns where a GPU could compute and does not. Raises LoadError where --require-gpu cannot be met.
    """
    if spec.require_gpu and spec.gpu_layers == 0:
        raise LoadError("--require-gpu and --gpu-layers 0 exclude each other; leave one of them out.")
    if spec.gpu_layers == 0:
        return False
    build = library.build()
    if build.has_gpu:
        return True
    finding = why_no_gpu(build, nvidia.find())
    if spec.require_gpu:
        raise LoadError(f"--require-gpu cannot be met. {finding}")
    if finding and finding.cure:
        log.warning("%s", finding)
    return False


def find_layers(spec: EngineSpec, uses_gpu: bool, layers: int, llama_log: Log) -> Placement:
    """Where the layers of a loaded model lie. `uses_gpu`: what `find_gpu` answered; `layers`: without the output.

    ggml's devices say whether there is a GPU, but only llama.cpp's log says how many layers it has put on it
    (llama-model.cpp, load_tensors). A log without that line is an error: taken for "none", it would give a GPU the
    settings of a CPU. Raises LoadError then, and where --require-gpu is not met.
    """
    if not uses_gpu:
        return Placement(gpu_layers=0, layers=layers)
    counted = llama_log.offloaded()
    if counted is None:
        raise LoadError(
            f"llama.cpp has found a GPU, but its log does not say how many layers it put on it, which Nitro must know. "
            f"llama-cpp-python {library.VERSION} may be another version than the one that Nitro is made for; "
            f"make install in Nitro's folder installs that. --gpu-layers 0 computes on the CPU."
        )
    placement = Placement(*counted)
    wanted = placement.layers if spec.gpu_layers is None else min(spec.gpu_layers, placement.layers)
    if spec.require_gpu and placement.gpu_layers < wanted:
        raise LoadError(f"--require-gpu cannot be met: {placement.gpu_layers} of {wanted} layers lie on a GPU.")
    return placement
