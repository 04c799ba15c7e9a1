"""Packages whose `__init__` imports far more than what we use of them: their modules are imported without it."""

import re
import sys
import threading
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_VERSION = re.compile(r"""^__version__ = ["']([^"']+)["']""", re.MULTILINE)
_running = threading.RLock()
_begun: set[str] = set()  # packages that are running


def defer(name: str) -> None:
    """Let modules of this package be imported without its `__init__`, which runs when a name is asked of the package
    itself that is no module imported before. Nothing happens where it is imported already or not installed."""
    if name not in sys.modules and (spec := find_spec(name)) and spec.loader:
        module = module_from_spec(spec)
        module.__class__ = _Deferred
        sys.modules[name] = module


def version(name: str) -> str:
    """The package's `__version__`, read from its source where it stands there."""
    module = sys.modules.get(name)
    if isinstance(module, _Deferred) and module.__file__:
        found = _VERSION.search(Path(module.__file__).read_text(encoding="utf-8"))
        if found:
            return found[1]
    return str(__import__(name).__version__)


class _Deferred(ModuleType):
    """A package that has not run, or is running. Meanwhile other threads wait for what it has not got yet."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> Any:
        with _running:
            if self.__class__ is _Deferred and self.__name__ not in _begun:
                _begun.add(self.__name__)
                try:
                    assert self.__spec__.loader
                    self.__spec__.loader.exec_module(self)
                finally:
                    _begun.remove(self.__name__)
                    self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)
