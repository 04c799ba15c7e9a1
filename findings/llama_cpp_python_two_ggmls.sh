#!/usr/bin/env bash
# llama-cpp-python 0.3.36 on Linux: `llama_cpp._ggml.libggml` is another copy of ggml than the one that libllama is
# linked with. The wheel has libggml.so and libggml.so.0 as two files, the package opens the first, libllama's loader the
# second, and both have their own list of backends and devices.
# So who registers a backend there (RPC, say, for which there are no bindings) registers it for nobody: llama.cpp loads
# the model on this machine, and no error says why. Open libggml.so.0 instead.
# Seen: "the package's ggml: 1 device, then 2; libllama's: 1, then 1".
# Building llama.cpp takes some minutes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llama-cpp-python==0.3.36

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import ctypes
from pathlib import Path

import llama_cpp
from llama_cpp._ggml import libggml

linked = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml.so.0"))


def devices(ggml):
    count = ggml["ggml_backend_dev_count"]
    count.restype = ctypes.c_size_t
    return count()


before = devices(libggml), devices(linked)
device = ctypes.create_string_buffer(256)  # stands for one: a list of devices only keeps its address
register = libggml["ggml_backend_device_register"]
register.restype, register.argtypes = None, (ctypes.c_void_p,)
register(ctypes.addressof(device))
after = devices(libggml), devices(linked)
print(f"the package's ggml: {before[0]} device, then {after[0]}; libllama's: {before[1]}, then {after[1]}")
mapped = {line.split()[-1].rpartition("/")[2] for line in open("/proc/self/maps") if "libggml.so" in line}
assert len(mapped) == 2, f"the behaviour has changed: {mapped}"
assert after == (before[0] + 1, before[1]), "the behaviour has changed"
PYTHON
