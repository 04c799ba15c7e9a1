"""A repository of the hub, as its list of files shows it: which of them are GGUF models, and what goes with each."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from nitro.gguf import split_files
from nitro.models import quantizations

SUFFIX = ".gguf"
PROJECTOR = "a projector"
# GGUF files that are no model, by what is in their names. llama.cpp leaves out some of them, too (common/download.cpp
# in llama-cpp-python 0.3.36).
COMPANIONS = {
    re.compile(pattern, re.IGNORECASE): kind
    for pattern, kind in {
        "mmproj": PROJECTOR,
        "imatrix": "an importance matrix",
        r"\bvocab\b": "a vocabulary without weights",
        r"(?<![a-z])(lora|adapter)(?![a-z])": "an adapter",
        "control[-_]vector": "a control vector",
        r"(?<![a-z])(mtp|eagle3|dflash|dspark)-": "a draft head",
    }.items()
}


class RepositoryFile(Struct, frozen=True):
    """A file of a repository. `path` has slashes; `size` is in bytes; `git` is Git's SHA-1 of the file."""

    path: str
    size: int
    sha256: str | None = None  # where it lies in the hub's large file storage
    git: str = ""

    @property
    def name(self) -> str:
        """Without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def type(self) -> str:
        """The type of its weights, if its name tells it."""
        return quantizations.tag(self.name.removesuffix(SUFFIX))


class Repository(Struct, frozen=True, kw_only=True):
    """A repository at one commit."""

    name: str  # "org/name"
    files: tuple[RepositoryFile, ...]
    commit: str = ""
    tags: frozenset[str] = frozenset()  # the hub's, as in "mlx" and "safetensors"
    config: Mapping[str, Any] = {}  # config.json, where the choice may need it
    gated: bool = False


class GgufModel(Struct, frozen=True):
    """A model among the GGUF files: one, or its parts in their order."""

    stem: str  # its path without suffix and number of the part
    tag: str
    parts: tuple[RepositoryFile, ...]
    count: int = 1  # of parts that it should have

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    @property
    def name(self) -> str:
        """Its file's, without folder, suffix and number of the part."""
        return self.stem.rpartition("/")[2]

    @property
    def base(self) -> str:
        """What the files of this model in all types are called, in lower case."""
        return quantizations.base(self.name).lower()

    @property
    def is_whole(self) -> bool:
        """Whether all of its parts are there."""
        return len(self.parts) == self.count


def gguf_models(files: Sequence[RepositoryFile]) -> list[GgufModel]:
    """The models in the GGUF files, in the order of the repository."""
    parts: dict[tuple[str, int], list[tuple[int, RepositoryFile]]] = {}
    for file in files:
        if not is_gguf(file) or companion(file.name):
            continue
        part = split_files.parse(file.path)
        stem = part.model if part else file.path[: -len(SUFFIX)]
        parts.setdefault((stem, part.count if part else 1), []).append((part.number if part else 1, file))
    found = []
    for (stem, count), numbered in parts.items():
        folder, _, name = stem.rpartition("/")
        tag = quantizations.tag(name) or quantizations.tag(folder.rpartition("/")[2])
        ordered = tuple(file for _, file in sorted(numbered, key=lambda part: part[0]))
        found.append(GgufModel(stem, tag, ordered, count))
    return found


def companion(name: str) -> str:
    """What a GGUF file of this name is, if it is no model; empty where it is one."""
    return next((kind for pattern, kind in COMPANIONS.items() if pattern.search(name)), "")


def projector_for(model: GgufModel, projectors: Sequence[RepositoryFile]) -> RepositoryFile | None:
    """What lets the model see or hear: where several are there, the one that is called as the model, the most exact."""
    own = [file for file in projectors if model.base in file.name.lower()]
    return min(own or projectors, key=lambda file: (quantizations.projector_rank(file.type), file.name), default=None)


def is_gguf(file: RepositoryFile) -> bool:
    """Whether its name says that it is a GGUF file."""
    return file.name.lower().endswith(SUFFIX)
