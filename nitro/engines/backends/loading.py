"""Chooses the engine for a model and loads its runner. The only importer of the runners, and only of those it tries."""

import contextlib
import importlib
import logging
import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec

import msgspec

from nitro.engines.backends import registry
from nitro.engines.backends.registry import EngineDescriptor
from nitro.engines.hardware import machine
from nitro.engines.hardware.libraries import explain
from nitro.engines.options import EngineOptions, Option, options_of
from nitro.engines.runner import CannotOpen, LoadError, ModelRunner
from nitro.engines.types import EngineSpec
from nitro.errors import reason

log = logging.getLogger("nitro.engine")


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
            log.warning("%s Trying --engine %s.", error, last)
    return _make(last, spec)


def prepare(engine: str) -> None:
    """Import what `load` will for this engine, as far as it is there: `load` says what is not."""
    name = candidates()[0] if engine == "auto" else engine
    with contextlib.suppress(LoadError):
        _import(name, registry.find(name))


def candidates() -> list[str]:
    """What --engine auto tries, in this order: of the engines for this platform those that are installed. One at
    least: its error says how to install it."""
    engines = registry.automatic(_platform())
    installed = [engine for engine in engines if find_spec(engine.module)]
    return [engine.name for engine in installed or engines[:1]]


def check_options(engine: EngineDescriptor, spec: EngineSpec) -> None:
    """Raise LoadError for an option that is set and that this engine does not have."""
    missing = registry.optional() - engine.options
    for option in options_of(EngineOptions):
        if option.field in missing and getattr(spec, option.field) != option.default:
            raise LoadError(_refusal(option, engine))


def _refusal(option: Option, engine: EngineDescriptor) -> str:
    others = [other for other in registry.ENGINES if option.field in other.options]
    automatic = registry.automatic(_platform())
    instead = next((f", or add --engine {other.name}" for other in others if other in automatic), "")
    owners = " and ".join(other.library for other in others)
    return f"{option.flag} is for {owners}, and {engine.library} has no such option. Leave it out{instead}."


def _make(name: str, spec: EngineSpec) -> ModelRunner:
    engine = registry.find(name)
    if engine:
        check_options(engine, spec)
    elif ":" not in name:
        names = ", ".join(known.name for known in registry.ENGINES)
        raise LoadError(f"--engine {name}: there is no such engine; there are {names}.")
    make = _import(name, engine)
    try:
        runner = make(spec)
        if spec.deterministic and not runner.info.deterministic:
            raise LoadError(f"--deterministic is nothing that {runner.info.engine} promises. Leave it out.")
        if spec.adapter_sources and not runner.info.takes_adapters:
            raise LoadError(f"--lora: {spec.model or name} takes no adapters, since it generates no text.")
        msgspec.msgpack.encode(runner.info)  # a damaged file may hold a name that is no text
    except LoadError:
        raise
    except BaseException as error:  # a library stumbles over a damaged file; a panic in Rust is no Exception
        log.debug("loading failed", exc_info=error)
        raise LoadError(f"{spec.model or name} cannot be loaded: {reason(error)}") from None
    return runner


def _import(name: str, engine: EngineDescriptor | None) -> Callable[[EngineSpec], ModelRunner]:
    """The runner's class, or what makes one. `name`: "module:Class" where the registry does not know the engine."""
    module, _, class_name = (engine.runner if engine else name).partition(":")
    try:
        found: Callable[[EngineSpec], ModelRunner] = getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        package = engine.package(_platform()) if engine else None
        cure = f"; pip install '.[{package.extra}]' in Nitro's folder does that" if package else ""
        raise LoadError(f"--engine {name} needs {error.name}, which is not installed{cure}.") from None
    except (ImportError, AttributeError, OSError, RuntimeError, ValueError) as error:  # what it links is missing, say
        raise LoadError(f"--engine {name} cannot be loaded: {explain(str(error))}") from None
    return found


def _platform() -> str:
    return registry.platform_name(sys.platform, platform.machine())
