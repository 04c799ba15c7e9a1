"""What source distributions hold besides libraries: llama-cpp-python's chat templates of many models, and vocabularies
with expected token ids; jsonschema's test suite. Fetched by pip once for each version; read at test time, none of it is
ours."""

import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

from nitro.system import folders

KEPT = ("models/templates/", "models/ggml-vocab-")
INSIDE = "/vendor/llama.cpp/"


def part_of(package: str, release: str, name: str, inside: str, kept: tuple[str, ...]) -> Path:
    """A folder of the cache, called `name`, with the files of a source distribution that lie under `inside` and whose
    paths from there begin with one of `kept`."""
    home = folders.cache() / name
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{name}-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package]
        subprocess.run([*command, "--dest", scratch, f"{package}=={release}"], check=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        whole = Path(scratch) / "whole"
        with tarfile.open(archive) as tar:
            for member in tar:
                path = member.name.partition(inside)[2]
                if member.isfile() and path.startswith(kept):
                    (whole / path).parent.mkdir(parents=True, exist_ok=True)
                    (whole / path).write_bytes(tar.extractfile(member).read())
        whole.rename(home)
    return home


@cache
def folder() -> Path:
    """With models/templates and models/ggml-vocab-* in it."""
    release = version("llama-cpp-python")
    return part_of("llama-cpp-python", release, f"models-{release}", INSIDE, KEPT)


def templates() -> dict[str, str]:
    """Chat templates by name."""
    files = sorted((folder() / "models" / "templates").glob("*.jinja"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}
