"""Why no NVIDIA GPU is used: sentences that `nitro doctor` prints, and that `nitro serve` logs where there is a cure,
or where --require-gpu is set. Pure."""

from collections import Counter
from collections.abc import Sequence

from nitro.engines.hardware.libraries import DRIVER, Build, Finding
from nitro.engines.hardware.nvidia import Nvidia


def why_no_gpu(build: Build, nvidia: Nvidia) -> Finding | None:
    """Why this build computes on no GPU; None where it has one. Without a cure nothing is wrong: there is no
    GPU."""
    if build.has_gpu:
        return None
    it_is = f"{build.library} is a {build.kind} build"
    cuda = "CUDA" in build.backends
    gpus = named(nvidia.gpus)
    if cuda and nvidia.hidden:
        return Finding(f"{it_is}, but CUDA_VISIBLE_DEVICES hides every GPU.", "Unset it.")
    match cuda, bool(gpus):
        case True, True:
            why = f"{it_is}, but cannot use the GPU ({gpus}): the driver is missing here, or older than that CUDA."
            return Finding(why, f"Update it. {DRIVER}")
        case True, False:
            return Finding(f"{it_is}, but there is no NVIDIA driver, or no GPU.", f"{DRIVER} Or add --gpu-layers 0.")
        case False, True:
            toolkit = "Run" if nvidia.nvcc else "Install the CUDA toolkit, which brings nvcc, then run"
            why = f"The GPU ({gpus}) is not used: {it_is}."
            return Finding(why, f"{toolkit} make install in Nitro's folder; it builds with CUDA.")
    return Finding(f"No GPU is found, and {it_is}.")


def named(gpus: Sequence[str]) -> str:
    """Names, each once: "2 × NVIDIA L4"."""
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in Counter(gpus).items())
