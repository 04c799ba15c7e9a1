"""Asks one engine library what it is, in a process of its own: a build for another processor kills its process.

`python -P -m nitro.engines.hardware.probe llama` prints a Build as JSON, in the last line.
"""

import importlib
import sys

import msgspec

from nitro.engines.hardware.libraries import ANEW, Build, Finding, explain

MODULES = {
    "llama": ("llama.cpp", "nitro.engines.backends.llama.library"),
    "mlx": ("MLX", "nitro.engines.backends.mlx.runner"),
}


def probe(engine: str) -> Build:
    library, module = MODULES[engine]
    try:
        build: Build = importlib.import_module(module).build()
    except ModuleNotFoundError as error:
        return Build(library, missing=error.name or module)
    except Exception as error:
        fault = explain(str(error) or repr(error))
        return Build(library, fault=Finding(fault.what, fault.cure or ANEW))
    return build


if __name__ == "__main__":
    print(msgspec.json.encode(probe(sys.argv[1])).decode())
