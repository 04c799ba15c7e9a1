"""Python runs this file first in processes that tests start under `pytest --fast`: engines are not installed there."""

import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

LIBRARIES = ("llama_cpp", "mlx", "mlx_lm", "torch", "transformers")
NEEDED = "NITRO_TESTS_NEEDED"  # the variable that names a file: the libraries that a process looked for in vain


class NotInstalled(MetaPathFinder):
    """Finds no engine library, and notes that somebody looked for it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname in LIBRARIES:
            with Path(os.environ[NEEDED]).open("a") as file:
                file.write(f"{fullname}\n")
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


if NEEDED in os.environ:
    sys.meta_path.insert(0, NotInstalled())
