"""What is served: a file or folder, its id, its sampling defaults; and what MODEL on the command line names. Opens no
engine."""

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.errors import StartError
from nitro.gguf import split_files
from nitro.models import default_model, files, names, projectors
from nitro.models.stored_model import StoredModel

GGUF_MAGIC = b"GGUF"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.-]+)?")


class ModelSource(Struct, frozen=True):
    """A model that can be served."""

    path: str
    id: str  # the alias, where there is one
    created: int  # Unix time
    sampling: SamplingDefaults = NOTHING  # wins over what the file says
    stem: str = ""  # what it is called without an alias
    system: str | None = (
        None  # the system message of a conversation that brings none; None: as the chat template has it
    )
    projector: str | None = None  # the file beside it that lets it see or hear


def find(model: str | None, alias: str | None, engine: str, folders: Iterable[Path] = ()) -> ModelSource:
    """The source of MODEL, or of the embedded default. MODEL is a file, a folder, or the name of a model in a store or
    in one of `folders`. Raises StartError with one sentence.

    An engine given as "module:Class" opens what it likes: its MODEL is passed on unseen.
    """
    if ":" in engine:
        name = model or engine.partition(":")[2]
        return ModelSource(model or "", alias or name, int(time.time()), stem=name)
    if model is None:
        file = default_model.path()
        return ModelSource(
            path=str(file),
            id=alias or default_model.ID,
            created=_created(file),
            sampling=default_model.SAMPLING,
            stem=default_model.ID,
            system=default_model.SYSTEM,
        )
    try:
        file = Path(model).expanduser()
        if stored := None if _exists(file) else _stored(model, folders):
            return of(stored, alias)
        _check(file, model)
        found = projectors.beside(file)
        return ModelSource(str(file), alias or _name(file), _created(file), stem=_name(file), projector=found)
    except (OSError, RuntimeError) as error:
        raise StartError(f"{model} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def of(model: StoredModel, alias: str | None = None) -> ModelSource:
    """A stored model as it is served."""
    if model.store == default_model.STORE:
        return ModelSource(
            model.path, alias or model.name, model.created, default_model.SAMPLING, model.name, default_model.SYSTEM
        )
    return ModelSource(model.path, alias or model.name, model.created, stem=model.name, projector=model.projector)


def find_draft(model: str | None, engine: str) -> str | None:
    """The path of --draft; None where there is none. Raises StartError, as `find` does."""
    return model and find(model, None, engine).path


def _exists(file: Path) -> bool:
    try:
        return os.path.lexists(file)
    except ValueError:  # a name that none can have
        return False


def _stored(model: str, folders: Iterable[Path]) -> StoredModel | None:
    """The stored model of this name; None where it must be a path. Raises StartError."""
    if Path(model).is_absolute() or model.startswith((".", "~")) or model.endswith(".gguf"):
        return None
    from nitro.models.catalog import AmbiguousName, Catalog, NameNotFound

    try:
        found = Catalog(folders).find(model)
    except AmbiguousName as error:
        raise StartError(str(error)) from None
    except NameNotFound as error:
        if _HUB_NAME.fullmatch(model):
            cure = f"if it is one of the Hugging Face hub, `nitro pull {model}` fetches it."
        else:
            cure = f"`nitro list` lists those that are here: {names.listed(error.known)}."
        raise StartError(f"{model}: no such file, and no model of this name is on this machine; {cure}") from None
    if found.problem:
        raise StartError(f"{found.name}: {found.problem}")
    return found


def _check(file: Path, model: str) -> None:
    try:
        model.encode()
    except UnicodeEncodeError:
        raise StartError(f"{model!r}: the name is not UTF-8; rename the file.") from None
    if problem := files.problem_with(file):
        raise StartError(problem)
    if file.is_dir():
        if not (file / "config.json").is_file():
            raise StartError(f"{model} is a folder without config.json; name an MLX model's folder, or a GGUF file.")
        return
    if not file.is_file():
        raise StartError(f"{model}: no such file.")
    part = split_files.parse(file.name)
    if part and part.number != 1:
        raise StartError(f"{model} is part {part.number} of {part.count}; name the first part, the others are found.")
    with file.open("rb") as stream:
        magic = stream.read(len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise StartError(f"{model} is not a GGUF file (its first bytes are not 'GGUF').")


def _name(file: Path) -> str:
    """A folder's name, or a file's without the suffix and the number of its part."""
    if file.is_dir():
        return file.resolve().name
    part = split_files.parse(file.name)
    return part.model if part else file.stem


def _created(file: Path) -> int:
    return int(file.stat().st_mtime)
