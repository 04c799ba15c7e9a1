"""GGUF → GGUF of another type, by llama_model_quantize."""

import ctypes
import os
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Quantise. `ftype`: of llama.h; `imatrix`: an importance matrix or null; `requantize`: also weights that are
    quantised already. `threads`: so many compute."""
    log: list[str] = []
    # kept until the end, since llama.cpp holds the pointer
    callback = lib.llama_log_callback(lambda level, text, _: log.append(text.decode(errors="replace")))
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = request["ftype"]
    parameters.nthread = request["threads"]
    parameters.allow_requantize = request["requantize"]
    imatrix = read_imatrix(request["imatrix"]) if request["imatrix"] else {}
    if imatrix:
        # an empty name ends the list
        entries = (lib.llama_model_imatrix_data * (len(imatrix) + 1))()
        for entry, (name, array) in zip(entries, imatrix.items(), strict=False):
            entry.name = name.encode()
            entry.size = array.size
            entry.data = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        parameters.imatrix = ctypes.cast(entries, type(parameters.imatrix))
    source = os.fsencode(request["source"])
    target = os.fsencode(request["target"])
    if lib.llama_model_quantize(source, target, ctypes.byref(parameters)) != 0:
        errors = [line.strip() for line in log if "fail" in line or "error" in line]
        raise ValueError(errors[-1] if errors else "llama.cpp could not quantise the model")
    return {"notices": [line.strip() for line in log if "fallback quantization" in line][-1:]}


def read_imatrix(path: str) -> dict[str, np.ndarray]:
    """An importance matrix in GGUF: for each tensor the mean square of each input column, float32 [experts ×
    columns]."""
    from gguf import GGUFReader

    tensors = {tensor.name: np.array(tensor.data, np.float32) for tensor in GGUFReader(path).tensors}
    found = {}
    for name, sums in tensors.items():
        counts = tensors.get(name.removesuffix("in_sum2") + "counts")
        if name.endswith(".in_sum2") and counts is not None:
            means = np.where(counts.reshape(-1, 1) > 0, sums / np.maximum(counts.reshape(-1, 1), 1), 1)
            found[name.removesuffix(".in_sum2")] = np.ascontiguousarray(means.reshape(-1), np.float32)
    if not found:
        raise ValueError(f"{path} is not an importance matrix in GGUF")
    return found
