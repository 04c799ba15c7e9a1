"""What llama.cpp's converter says of each folder in ROOT, asked for its vocabulary by Nitro's worker, in one process of
the converter's environment: `try_folders.py WORKERS CONVERTER ROOT` writes ROOT/said.json, by the folders' names."""

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from types import ModuleType


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(workers: Path, converter: Path, root: Path) -> None:
    load(workers / "remote_code.py").forbid()
    worker, path, said = load(workers / "hf_to_gguf.py"), sys.path.copy(), {}
    for folder in sorted(each for each in root.iterdir() if each.is_dir()):
        sys.path = path.copy()
        request = {"converter": converter, "source": str(folder), "target": str(folder / "made.gguf"), "check": True}
        try:
            worker.run({**request, "outtype": "f16", "name": "tried"})
            said[folder.name] = ""
        except BaseException as error:  # whatever a converter ends with
            said[folder.name] = f"{error}" + "".join(traceback.format_tb(error.__traceback__)[-2:])
    (root / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
