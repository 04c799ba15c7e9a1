"""The families of tool formats, each a file with a FORMAT; which one a chat template belongs to."""

import importlib
import pkgutil
from functools import cache

from nitro.text.tool_formats.format import Format


@cache
def known() -> dict[str, Format]:
    """By name. Every file here that has a FORMAT is one."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.FORMAT.name: module.FORMAT for module in modules if hasattr(module, "FORMAT")}


def detect(template: str) -> Format | None:
    """The family whose signs the template has, the longest where it has those of several; None: of none."""
    fitting = [format for format in known().values() if all(sign in template for sign in format.signs)]
    return max(fitting, key=lambda format: sum(map(len, format.signs)), default=None)
