"""The tool formats of model families, each a file with a FORMAT, and which of them a chat template uses."""

import importlib
import pkgutil
from functools import cache

from nitro.text.tool_formats.format import ToolFormat


@cache
def known() -> dict[str, ToolFormat]:
    """All formats by name: the FORMAT of every file here that has one."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.FORMAT.name: module.FORMAT for module in modules if hasattr(module, "FORMAT")}


def detect(template: str) -> ToolFormat | None:
    """The format whose markers the template has, the longest markers if several fit; None if none fits."""
    fitting = [format for format in known().values() if all(mark in template for mark in format.template_markers)]
    return max(fitting, key=lambda format: sum(map(len, format.template_markers)), default=None)
