"""Which runner opens a model on this machine. The only importer of the runners, and only of those it tries."""

import importlib
import logging
import sys
from importlib.util import find_spec

import msgspec

from nitro.engines.hardware import machine
from nitro.engines.hardware.libraries import explain
from nitro.engines.runner import CannotOpen, LoadError, ModelRunner
from nitro.engines.types import EngineSpec
from nitro.errors import reason

log = logging.getLogger("nitro.engine")

RUNNERS = {
    "mlx": "nitro.engines.backends.mlx.runner:MlxRunner",
    "llama": "nitro.engines.backends.llama.runner:LlamaRunner",
}
LIBRARIES = {"mlx": "mlx", "llama": "llama_cpp"}


def load(spec: EngineSpec) -> ModelRunner:
    """A loaded runner. Raises LoadError with one sentence for the person who started the server."""
    if spec.engine in ("auto", "mlx") and machine.is_translated():
        raise LoadError(
            "This Python is an x86_64 one, run by Rosetta on an Apple-Silicon Mac. Use an arm64 Python, or add "
            "--engine llama to compute slowly."
        )
    *first, last = candidates() if spec.engine == "auto" else [spec.engine]
    for engine in first:
        try:
            return _make(engine, spec)
        except CannotOpen as error:
            log.warning("%s It goes to %s.", error, last)
    return _make(last, spec)


def candidates() -> list[str]:
    """What --engine auto tries, in this order: MLX on Apple Silicon, and llama.cpp."""
    if not machine.is_apple_silicon():
        return ["llama"]
    return [engine for engine, library in LIBRARIES.items() if find_spec(library)] or ["mlx"]


def _make(engine: str, spec: EngineSpec) -> ModelRunner:
    module, _, name = RUNNERS.get(engine, engine).partition(":")
    if not name:
        raise LoadError(f"--engine {engine}: there is no such engine; there are {', '.join(RUNNERS)}.")
    try:
        make = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        extra = "mlx-cpu" if engine == "mlx" and sys.platform == "linux" else engine
        cure = f"; pip install '.[{extra}]' in Nitro's folder does that" if engine in RUNNERS else ""
        raise LoadError(f"--engine {engine} needs {error.name}, which is not installed{cure}.") from None
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError) as error:  # what it links is missing, say
        raise LoadError(f"--engine {engine} cannot be loaded: {explain(str(error))}") from None
    try:
        runner: ModelRunner = make(spec)
        msgspec.msgpack.encode(runner.info)  # a damaged file may say of itself what cannot be told
    except LoadError:
        raise
    except BaseException as error:  # a library stumbles over a damaged file; a panic in Rust is no Exception
        log.debug("loading failed", exc_info=error)
        raise LoadError(f"{spec.model or engine} cannot be loaded: {reason(error)}") from None
    return runner
