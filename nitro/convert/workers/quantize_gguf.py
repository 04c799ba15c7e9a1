"""GGUF → GGUF of another type, by llama_model_quantize."""

import ctypes
import os
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np


def run(request: dict[str, Any]) -> dict[str, Any]:
    said: list[str] = []
    callback = lib.llama_log_callback(lambda level, text, _: said.append(text.decode(errors="replace")))
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = request["ftype"]
    parameters.nthread = os.cpu_count() or 1
    parameters.allow_requantize = request["requantize"]
    kept = importance(request["imatrix"]) if request["imatrix"] else {}
    if kept:
        # an empty name ends the list
        entries = (lib.llama_model_imatrix_data * (len(kept) + 1))()
        for entry, (name, array) in zip(entries, kept.items(), strict=False):
            entry.name, entry.size = name.encode(), array.size
            entry.data = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        parameters.imatrix = ctypes.cast(entries, type(parameters.imatrix))
    source, target = os.fsencode(request["source"]), os.fsencode(request["target"])
    if lib.llama_model_quantize(source, target, ctypes.byref(parameters)) != 0:
        errors = [line.strip() for line in said if "fail" in line or "error" in line]
        raise ValueError(errors[-1] if errors else "llama.cpp could not quantise it")
    return {"notices": [line.strip() for line in said if "fallback quantization" in line][-1:]}


def importance(path: str) -> dict[str, np.ndarray]:
    """An importance matrix in GGUF: by tensor the mean square of each input column, float32 [experts × columns]."""
    from gguf import GGUFReader

    tensors = {tensor.name: np.array(tensor.data, np.float32) for tensor in GGUFReader(path).tensors}
    found = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2") and (counts := tensors.get(name.removesuffix("in_sum2") + "counts")) is not None:
            means = np.where(counts.reshape(-1, 1) > 0, sums / np.maximum(counts.reshape(-1, 1), 1), 1)
            found[name.removesuffix(".in_sum2")] = np.ascontiguousarray(means.reshape(-1), np.float32)
    if not found:
        raise ValueError(f"{path} is no importance matrix in GGUF")
    return found
