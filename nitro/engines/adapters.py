"""LoRA adapters: which there are, and what of them a request applies. Pure data, shared by server and engine process.

An adapter has a number, which no other gets as long as its engine lives, and a name, which clients know. An adapter set
is what a sequence is computed under: KV that was computed under one set is of no use under another.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

MAX_ADAPTERS = 256  # of one model
MAX_SCALE = 100.0  # of an adapter in a set, either way: more is no fine-tune

# The adapters that are applied, by number, and their scales; ascending, none of them 0. (): the model itself.
AdapterSet = tuple[tuple[int, float], ...]


class AdapterSource(Struct, frozen=True):
    """An adapter that is to be loaded. `path`: a GGUF file, or a folder."""

    id: int
    name: str  # in the API
    path: str
    scale: float = 0.0  # at which requests apply it that say nothing of adapters


class AdapterInfo(AdapterSource, frozen=True):
    """An adapter that is loaded."""

    rank: int = 0  # the largest of its matrices'
    bytes: int = 0  # that it takes
    fingerprint: str = ""  # changes with its weights


class BadAdapters(ValueError):
    """What is set for --lora cannot be. The message is a sentence."""


def parse(options: Iterable[str]) -> list[AdapterSource]:
    """--lora NAME=PATH, each, numbered in their order. Raises BadAdapters."""
    sources: list[AdapterSource] = []
    for option in options:
        name, _, path = option.partition("=")
        if not name.strip() or not path:
            raise BadAdapters(f"--lora {option}: expected NAME=PATH.")
        if any(source.name == name for source in sources):
            raise BadAdapters(f"--lora {option}: there are two adapters of this name.")
        sources.append(AdapterSource(len(sources), name, str(Path(path).expanduser())))
    if len(sources) > MAX_ADAPTERS:
        raise BadAdapters(f"--lora: there are {len(sources)} adapters, and a model has at most {MAX_ADAPTERS}.")
    return sources


def option(source: AdapterSource) -> str:
    """--lora that means it."""
    return f"{source.name}={source.path}"


def adapter_set(scales: Iterable[tuple[int, float]]) -> AdapterSet:
    """The set of adapters with these scales."""
    return tuple(sorted((id, scale) for id, scale in scales if scale))


def is_scale(value: float) -> bool:
    """Whether an adapter may be applied so."""
    return math.isfinite(value) and abs(value) <= MAX_SCALE
