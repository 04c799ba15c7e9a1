"""Which runner opens a model on this machine. The only importer of the runners, and only of the one it chose."""

import importlib

from nitro.engines.runner import LoadError, ModelRunner
from nitro.engines.types import EngineSpec

RUNNERS = {"llama": "nitro.engines.llama:LlamaRunner"}


def load(spec: EngineSpec) -> ModelRunner:
    """A loaded runner. Raises LoadError with one sentence for the person who started the server."""
    engine = "llama" if spec.engine == "auto" else spec.engine
    module, _, name = RUNNERS.get(engine, engine).partition(":")
    if not name:
        raise LoadError(f"--engine {engine}: this version has no such engine; it has {', '.join(RUNNERS)}.")
    try:
        make = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise LoadError(f"--engine {engine} needs {error.name}, which is not installed; `make install` does.") from None
    except (ImportError, AttributeError, OSError, RuntimeError) as error:  # a library that it links is not there, say
        raise LoadError(f"--engine {engine} cannot be loaded: {error}") from None
    runner: ModelRunner = make(spec)
    return runner
