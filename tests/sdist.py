"""What llama-cpp-python's source distribution holds besides the library: chat templates of many models, vocabularies
with expected token ids. Fetched by pip once for each version; read at test time, none of it is ours."""

import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

from nitro.convert import cache as caches

KEPT = ("models/templates/", "models/ggml-vocab-")
INSIDE = "/vendor/llama.cpp/"


@cache
def folder() -> Path:
    """With models/templates and models/ggml-vocab-* in it."""
    release = version("llama-cpp-python")
    home = caches.folder() / f"models-{release}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".models-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
        subprocess.run([*command, "--dest", scratch, f"llama-cpp-python=={release}"], check=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        whole = Path(scratch) / "whole"
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.partition(INSIDE)[2]
                if member.isfile() and name.startswith(KEPT):
                    (whole / name).parent.mkdir(parents=True, exist_ok=True)
                    (whole / name).write_bytes(tar.extractfile(member).read())
        whole.rename(home)
    return home


def templates() -> dict[str, str]:
    """Chat templates by name."""
    files = sorted((folder() / "models" / "templates").glob("*.jinja"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}
