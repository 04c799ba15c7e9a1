"""Nitro's own conversions between GGUF, MLX and HF, with the libraries of MLX's environment."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run `conversion`, a module of nitro.convert. `check`: only see whether it can, which reads no weight."""
    find_nitro(Path(request["nitro"]))
    conversion = importlib.import_module(f"nitro.convert.{request['conversion']}")
    source = Path(request["source"])
    target = Path(request["target"])
    if request["check"]:
        conversion.check(source, **request["options"])
        return {}
    target.mkdir()
    return {"notices": conversion.convert(source, target, **request["options"])}


def find_nitro(package: Path) -> None:
    """Import the package in this folder, but nothing beside it, which belongs to another environment."""
    init = package / "__init__.py"
    spec = importlib.util.spec_from_file_location("nitro", init, submodule_search_locations=[str(package)])
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["nitro"] = module
    spec.loader.exec_module(module)
