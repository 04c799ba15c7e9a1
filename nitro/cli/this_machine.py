"""What a model may take of this machine, for the choice of one that is not here yet."""

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

from nitro.engines.backends import registry
from nitro.engines.hardware import nvidia
from nitro.models.choice import Machine, Memory

SHARE = 0.75  # of main memory; the rest is for the system and other programs. Metal takes as much by default.


def look(memory: int | None = None) -> Machine:
    """This machine, or one with so many bytes for models instead of its own. Imports no engine."""
    engines = tuple(engine.name for engine in _in_order() if find_spec(engine.module))
    if memory is not None:
        return Machine((Memory("memory", memory),), engines)
    main = Memory("memory", int(SHARE * _total()))
    gpus = nvidia.memory()
    return Machine((Memory("GPU memory", gpus), main) if gpus else (main,), engines)


def _in_order() -> list[registry.EngineDescriptor]:
    """The engines as --engine auto tries them, then the others."""
    automatic = registry.automatic(registry.platform_name(sys.platform, platform.machine()))
    return [*automatic, *(engine for engine in registry.ENGINES if engine not in automatic)]


def _total(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of main memory; a container's limit counts."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return total
