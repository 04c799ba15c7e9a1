"""What a store is: folders of a program, and how models lie in them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from nitro.models.stored_model import StoredModel


class Found(Struct, frozen=True, kw_only=True):
    """A model as its store's layout shows it. What its files contain is not known yet."""

    name: str
    path: Path  # the GGUF file (if it is split, its first part), or the folder
    names: tuple[str, ...] = ()  # other names that mean it
    projector: Path | None = None
    problem: str | None = None  # why it cannot be served, and the cure, as a sentence
    removable: bool = False  # Nitro has fetched it


def no_removal(_model: StoredModel) -> str:
    """For stores that no command removes from."""
    return ""


class Store(Struct, frozen=True, kw_only=True):
    """One program's folders. `find` raises OSError for what cannot be read."""

    name: str  # as NITRO_STORES has it
    title: str  # as sentences have it
    roots: Callable[[], list[Path]]  # folders, which need not exist
    find: Callable[[Path], Iterator[Found]]  # the models under a root that exists
    removal: Callable[[StoredModel], str] = no_removal  # the command that removes a model; empty: there is none
