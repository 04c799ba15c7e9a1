"""GGUF files of every type that llama.cpp's own quantiser writes, made of a file in float32 or another type."""

import ctypes
import math
import os
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np
from gguf import GGMLQuantizationType

from nitro.engines.hardware.memory import physical_cores
from nitro.gguf import header

# llama.h's file types, by the type of their weights
FILE_TYPES = {
    name: getattr(lib, f"LLAMA_FTYPE_MOSTLY_{file_type}")
    for name, file_type in {
        **{name: name for name in ("F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")},
        **{"IQ2_S": "IQ2_M"},
        **{"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "Q6_K": "Q6_K"},
        **{name: name for name in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ3_S")},
        **{name: name for name in ("IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0")},
        "MXFP4": "MXFP4_MOE",
    }.items()
} | {"F32": lib.LLAMA_FTYPE_ALL_F32}


def quantize(source: Path, target: Path, kind: str, pure: bool = True, others: dict[str, str] | None = None) -> Path:
    """Write `target`. `kind`: of FILE_TYPES. `pure`: every matrix in this type; otherwise in the mixture that the file
    type is. `others`: types of tensors of their own, by a regular expression for the names."""
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[kind]
    parameters.pure = pure
    parameters.allow_requantize = True
    parameters.nthread = physical_cores()
    importances = _importances(source)
    entries = (lib.llama_model_imatrix_data * (len(importances) + 1))()  # an empty name ends the list
    for entry, (name, values) in zip(entries, importances.items(), strict=False):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    parameters.imatrix = ctypes.cast(entries, type(parameters.imatrix))
    overrides = (lib.llama_model_tensor_override * (len(others or {}) + 1))()
    for override, (pattern, other) in zip(overrides, (others or {}).items(), strict=False):
        override.pattern, override.type = pattern.encode(), GGMLQuantizationType[other]
    parameters.tt_overrides = ctypes.cast(overrides, type(parameters.tt_overrides))
    names = os.fsencode(source), os.fsencode(target)
    assert lib.llama_model_quantize(*names, ctypes.byref(parameters)) == 0, kind
    return target


def _importances(source: Path) -> dict[str, np.ndarray]:
    """Every input of every matrix is as important; some types are not written without any."""
    matrices = {name: tensor.shape for name, tensor in header.read(source).tensors.items() if len(tensor.shape) > 1}
    return {name: np.ones(shape[-1] * math.prod(shape[:-2]), np.float32) for name, shape in matrices.items()}
