"""llama.cpp's own converter, in the version that llama-cpp-python was built from. Its source distribution contains
it."""

import ast
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from nitro.convert import environments
from nitro.errors import ConvertError
from nitro.system import folders

NEEDED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/")
VENDOR_FOLDER = "/vendor/llama.cpp/"


def release() -> str:
    """The version of llama-cpp-python that is installed, or else required."""
    return environments.pinned("llama-cpp-python").partition("==")[2]


def folder(notify: Callable[[str], None]) -> Path:
    """The folder with convert_hf_to_gguf.py. pip fetches it once for each version. Raises ConvertError."""
    home = folders.cache() / f"converter-{release()}"
    if not home.is_dir():
        interpreter = environments.python("converter", notify)
        notify(f"downloading the sources of llama-cpp-python {release()} (only once)")
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".converter-") as scratch:
            unpacked = Path(scratch) / "unpacked"
            unpack(_download(interpreter, Path(scratch)), unpacked)
            try:
                unpacked.rename(home)
            except OSError:
                if not home.is_dir():  # else another process was faster
                    raise
    return home


def unpack(archive: Path, target: Path) -> None:
    """Take the converter's files out of a source distribution. Raises ConvertError where it has none."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, found, name = member.name.partition(VENDOR_FOLDER)
            if found and member.isfile() and name.startswith(NEEDED) and ".." not in Path(name).parts:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                assert stream
                with (target / name).open("wb") as file:
                    shutil.copyfileobj(stream, file)
    if not (target / NEEDED[0]).is_file():
        raise ConvertError(f"{archive.name} does not contain {NEEDED[0]}.")


def architectures(folder: Path) -> frozenset[str]:
    """The names in config.json's "architectures" that the converter supports, read from its source."""
    tree = ast.parse((folder / "conversion" / "__init__.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TEXT_MODEL_MAP" and node.value:
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def _download(interpreter: Path, folder: Path) -> Path:
    command = [str(interpreter), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
    command += ["--dest", str(folder), f"llama-cpp-python=={release()}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    found = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or not found:
        last = (done.stderr.strip().splitlines() or ["no file was downloaded"])[-1]
        raise ConvertError(f"pip could not download the sources of llama-cpp-python {release()}: {last}")
    return found[0]
