"""Keeps transformers from the Python code that a model's folder may bring, whoever asks for it with which flags:
llama.cpp's converter trusts every folder.

All such code goes through one of its modules, which decides (`resolve_trust_remote_code`) and imports
(`get_class_in_module`). That module is changed the moment it is loaded, before any other takes these names from it.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

GATE = "transformers.dynamic_module_utils"


class _Gatekeeper:
    """An importer of that module alone."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != GATE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec and spec.loader
        load = spec.loader.exec_module

        def load_closed(module: ModuleType) -> None:
            load(module)
            _close(module)

        setattr(spec.loader, "exec_module", load_closed)  # noqa: B010 mypy wants it so
        return spec


def forbid() -> None:
    """Before transformers is imported; it need not be there."""
    assert GATE not in sys.modules
    sys.meta_path.insert(0, _Gatekeeper())


def _close(module: ModuleType) -> None:
    for name, closed in {"resolve_trust_remote_code": _decide, "get_class_in_module": _refuse}.items():
        assert hasattr(module, name), f"{GATE} has no {name} any more"
        setattr(module, name, closed)


def _decide(trust: Any, folder: Any, has_local_code: bool, has_remote_code: bool, *_: Any, **__: Any) -> bool:
    """Never. Where transformers has a class of its own for the model, that is taken; else there is nothing."""
    if has_remote_code and not has_local_code:
        _refuse(folder=folder)
    return False


def _refuse(*_: Any, folder: Any = "the model", **__: Any) -> None:
    raise ValueError(f"{folder} needs Python code that it brings itself (auto_map), and such is never run")
