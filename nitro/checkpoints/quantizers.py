"""Folders that other libraries quantised: whose `quant_method` they name, and which of them mlx-lm reads.

mlx-lm 0.32.2 (utils.load_model) leaves methods that it does not know as they are, without a word, and takes the packed
bytes for numbers where names and shapes happen to fit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nitro.checkpoints import files, mlx_packing

EXPORT_FILE = "hf_quant_config.json"  # NVIDIA ModelOpt writes its settings beside config.json
# Methods that mlx-lm reads for some architectures; for which, it says itself when it loads.
FOR_SOME = ("bitnet", "compressed-tensors", "fp8", "modelopt", "mxfp4", "mxfp8")
AWQ = (4, "gemm")  # bits and version of AutoAWQ's weights that it reads for all
CURE = "Take a folder that mlx_lm.convert wrote, or the original weights"


def method(config: Mapping[str, Any], folder: Path) -> str | None:
    """The other library's method of a folder's weights; None where there is none. Raises OSError, ValueError."""
    settings = mlx_packing.quantization(config)
    if settings is None:
        settings = files.read(folder / EXPORT_FILE) or None
        if settings is not None and "quant_method" not in settings:
            return "modelopt"
    if settings is None or (name := settings.get("quant_method")) is None:
        return None
    return str(name)


def problem_for_mlx(config: Mapping[str, Any], folder: Path) -> str | None:
    """Why mlx-lm cannot read a folder's weights, as far as its configuration tells: a sentence without a full stop.
    Raises OSError, ValueError."""
    if "quantization" in config:
        return None  # mlx-lm's own settings, whatever stands beside them
    name = method(config, folder)
    if name is None:
        return None
    settings = mlx_packing.quantization(config)
    if settings is None:
        about = f" (see {EXPORT_FILE})"
    elif name == "awq":
        bits, version = settings.get("bits", 4), str(settings.get("version", "gemm")).lower()
        if (bits, version) == AWQ:
            return None
        about = f" with {bits} bits, packed for {version}"
    else:
        about = ""
        if name in FOR_SOME:
            return None
    return (
        f"its weights are quantised by {name}{about}; of other libraries' weights MLX reads awq with {AWQ[0]} bits, "
        f"packed for {AWQ[1]}, and of some architectures {', '.join(FOR_SOME)}. {CURE}"
    )
