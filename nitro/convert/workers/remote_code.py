"""Keeps transformers from running Python code in a model's folder, whatever flags it is called with: llama.cpp's
converter trusts every folder.

All such code goes through one module of transformers, which decides (`resolve_trust_remote_code`) and imports
(`get_class_in_module`). That module is patched as soon as it is loaded, before others import these names from it.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULE = "transformers.dynamic_module_utils"


class _PatchingImporter:
    """An importer for that module alone."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec and spec.loader
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            _patch(module)

        setattr(spec.loader, "exec_module", load_and_patch)  # noqa: B010 mypy wants it so
        return spec


def forbid() -> None:
    """Call this before transformers is imported. It need not be installed."""
    assert MODULE not in sys.modules
    sys.meta_path.insert(0, _PatchingImporter())


def _patch(module: ModuleType) -> None:
    for name, replacement in {"resolve_trust_remote_code": _distrust, "get_class_in_module": _refuse}.items():
        assert hasattr(module, name), f"{MODULE} has no {name} any more"
        setattr(module, name, replacement)


def _distrust(trust: Any, folder: Any, has_local_code: bool, has_remote_code: bool, *_: Any, **__: Any) -> bool:
    """Never trust. transformers then uses its own class for the model, if it has one."""
    if has_remote_code and not has_local_code:
        _refuse(folder=folder)
    return False


def _refuse(*_: Any, folder: Any = "the model", **__: Any) -> None:
    raise ValueError(f"{folder} needs its own Python code (auto_map), which is never run")
