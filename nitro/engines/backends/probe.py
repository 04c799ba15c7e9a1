"""Asks one engine's library what it is, in a process of its own: a build for another processor kills its process.

`python -P -m nitro.engines.backends.probe llama` prints a Build as JSON, in the last line.
"""

import importlib
import sys

import msgspec

from nitro.engines.backends import registry
from nitro.engines.backends.registry import EngineDescriptor
from nitro.engines.hardware.libraries import REBUILD, Build, Finding, explain


def probe(engine: EngineDescriptor) -> Build:
    """The engine's build or, where it does not load, what is wrong with it."""
    module, _, function = engine.probe.partition(":")
    try:
        build: Build = getattr(importlib.import_module(module), function)()
    except ModuleNotFoundError as error:
        return Build(engine.library, missing=error.name or module)
    except Exception as error:
        fault = explain(str(error) or repr(error))
        return Build(engine.library, fault=Finding(fault.what, fault.cure or REBUILD))
    return build


if __name__ == "__main__":
    (found,) = [engine for engine in registry.ENGINES if engine.name == sys.argv[1]]
    print(msgspec.json.encode(probe(found)).decode())
