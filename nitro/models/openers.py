"""Which engines open a stored model on this machine, by what its files say. No engine is imported, no model opened."""

import ast
import functools
import platform
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from nitro.checkpoints import encoders
from nitro.engines.backends import registry
from nitro.gguf.constants import MODEL_ARCH_NAMES
from nitro.gguf.known import ARCHITECTURES
from nitro.models.stored_model import StoredModel

LLAMA, MLX = registry.LLAMA.name, registry.MLX.name
LLAMA_ARCHITECTURES = frozenset(MODEL_ARCH_NAMES.values())  # as the package `gguf` has them, which llama.cpp releases


@functools.cache
def installed() -> tuple[str, ...]:
    """The engines that are installed, those first that --engine auto tries first on this machine."""
    here = registry.platform_name(sys.platform, platform.machine())
    automatic = [engine.name for engine in registry.automatic(here)]
    names = [engine.name for engine in registry.ENGINES if find_spec(engine.module)]
    return tuple(sorted(names, key=lambda name: automatic.index(name) if name in automatic else len(automatic)))


def prefers_mlx() -> bool:
    """Whether --engine auto takes MLX where it can."""
    here = registry.platform_name(sys.platform, platform.machine())
    return MLX in installed() and any(engine.name == MLX for engine in registry.automatic(here))


def of(model: StoredModel) -> tuple[str, ...]:
    """The engines that are expected to open it, the preferred first; none for a broken one."""
    return () if model.problem else tuple(name for name in installed() if _OPENS[name](model))


def _llama_opens(model: StoredModel) -> bool:
    return model.format == "gguf" and model.architecture in LLAMA_ARCHITECTURES


def _mlx_opens(model: StoredModel) -> bool:
    if model.format == "gguf":
        return model.architecture in ARCHITECTURES
    return model.architecture in encoders.MODEL_TYPES or model.architecture.replace("-", "_") in _mlx_lm_models()


_OPENS = {LLAMA: _llama_opens, MLX: _mlx_opens}


@functools.cache
def _mlx_lm_models() -> frozenset[str]:
    """The types of models that mlx-lm has a file for, and those that it reads as another's."""
    spec = find_spec("mlx_lm")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = {file.stem for folder in folders for file in (folder / "models").glob("*.py")}
    return frozenset(found.union(*(_other_names(folder / "utils.py") for folder in folders)))


def _other_names(source: Path) -> set[str]:
    """The keys of MODEL_REMAPPING, a table of texts in mlx-lm's source; none where it is something else."""
    try:
        table = re.search(r"^MODEL_REMAPPING = (\{[^}]*\})", source.read_text(encoding="utf-8"), re.MULTILINE)
        names = ast.literal_eval(table[1]) if table else {}
    except (OSError, ValueError, SyntaxError):
        return set()
    return {str(name).replace("-", "_") for name in names}
