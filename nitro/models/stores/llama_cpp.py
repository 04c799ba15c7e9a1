"""What llama.cpp has fetched (-hf, -mu): common/common.cpp and common/download.cpp, b5000 to what llama-cpp-python
0.3.36 has. Newer versions use the hub's cache (hub.py), or its layout in $LLAMA_CACHE.

    $LLAMA_CACHE, or llama.cpp in $XDG_CACHE_HOME, ~/.cache or, on a Mac, ~/Library/Caches
        ORG_REPOSITORY_FILE.gguf               of -hf, with …_mmproj-F16.gguf; FILE.gguf of a URL
        ORG_REPOSITORY_FILE.gguf.etag, .json   where it comes from
        manifest=ORG=REPOSITORY=TAG.json       `ggufFile.rfilename` and `mmprojFile.rfilename`
        FILE.gguf.downloadInProgress           until it is whole
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from nitro.gguf import split_files
from nitro.models.stored_model import StoredModel
from nitro.models.stores import folder, hub, walking
from nitro.models.stores.store import Found, Store

MANIFEST = "manifest="
MAX_BYTES = 2**22  # of a manifest


def _roots() -> list[Path]:
    if chosen := os.environ.get("LLAMA_CACHE"):
        return [Path(chosen).expanduser()]
    base = Path.home() / "Library/Caches" if sys.platform == "darwin" else os.environ.get("XDG_CACHE_HOME")
    return [Path(base or Path.home() / ".cache") / "llama.cpp"]


def _find(root: Path) -> Iterator[Found]:
    for place, names in walking.folders(root, depth=0):
        known = dict(_manifests(place, names))
        for found in folder.files_in(place, [*names, *_unfinished(names)]):
            title, projector = known.get(found.path.name, ("", None))
            if not os.path.exists(found.path):
                found = replace(found, problem=f"{found.path.name} is half fetched; have llama.cpp fetch the rest.")
            elif projector:
                found = replace(found, projector=place / projector)
            yield replace(found, name=title, names=(found.name,)) if title else found
    yield from hub.find(root)


def _unfinished(names: list[str]) -> list[str]:
    """Files that are fetched now, or were, by the names they will have."""
    ending = ".downloadInProgress"
    return [name.removesuffix(ending) for name in names if name.endswith(f".gguf{ending}")]


def _manifests(place: Path, names: list[str]) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """By the name of the first file: what the model is called, and the projector's file."""
    for name in names:
        parts = name.removesuffix(".json").split("=")
        if not name.startswith(MANIFEST) or len(parts) != 4:
            continue
        _, org, repository, tag = parts
        content = _read(place / name)
        weights, projector = (_file(content, key) for key in ("ggufFile", "mmprojFile"))
        if weights:
            at = f"{org}_{repository}_"
            yield at + weights, (f"{org}/{repository}:{tag}", at + projector if projector else None)


def _file(manifest: dict[str, Any], key: str) -> str:
    """A file's name in the cache, which flattens folders."""
    about = manifest.get(key)
    name = about.get("rfilename") if isinstance(about, dict) else None
    return name.replace("/", "_") if isinstance(name, str) and "\0" not in name else ""


def _read(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return {}
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _removal(model: StoredModel) -> str:
    files = split_files.files(Path(model.path))
    return "rm " + " ".join(f"'{file}'" for file in files)


LLAMA_CPP = Store(name="llama_cpp", title="llama.cpp", roots=_roots, find=_find, removal=_removal)
