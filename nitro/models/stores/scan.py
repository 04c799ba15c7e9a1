"""What all stores hold, as StoredModels: layouts from the stores, the rest from the models' own files."""

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from nitro.errors import one_line
from nitro.gguf import split_files
from nitro.models import fact_cache, facts
from nitro.models.fact_cache import FactCache
from nitro.models.stored_model import StoredModel
from nitro.models.stores import folder, registry, walking
from nitro.models.stores.store import Found, Store

log = logging.getLogger("nitro.models")

CONFIGURED = Store(name="nitro.toml", title="nitro.toml", roots=list, find=lambda _: iter(()))


def models(
    folders: Iterable[Path],
    everything: bool,
    paths: Mapping[str, Path] | None = None,
    cache: FactCache | None = None,
) -> list[StoredModel]:
    """The models of `folders`, those at `paths`, which are by name, and, if `everything` is asked for, of the stores.
    A file that two stores name is listed once, by the first. Each has a name of its own."""
    cache = cache or fact_cache.shared()
    found: dict[str, StoredModel] = {}
    for name, path in (paths or {}).items():
        model = _described(CONFIGURED, Found(name=name, path=path.expanduser().absolute()), cache)
        found[model.path] = model
    for store in registry.stores(folders, everything):
        for model in of_store(store, cache):
            found.setdefault(model.path, model)
    cache.save()
    return _with_own_names(found.values())


def of_store(store: Store, cache: FactCache) -> Iterator[StoredModel]:
    """The models of one store. A folder that cannot be read is logged."""
    for root in store.roots():
        try:
            if root.is_dir():
                for found in store.find(root):
                    yield _described(store, found, cache)
        except OSError as error:
            _warn(one_line(f"{store.title}: {error.filename or root} cannot be read: {error.strerror or error}"))


@functools.cache
def _warn(text: str) -> None:
    """Once: a server looks every few seconds."""
    log.warning("%s", text)


def at(path: Path) -> StoredModel:
    """The model that is this file or folder, whether a store has it or not."""
    path = Path(os.path.abspath(path))
    beside = next((names for _, names in walking.folders(path.parent, depth=0)), [])
    models = [] if path.is_dir() else folder.files_in(path.parent, beside)
    alone = Found(name=split_files.model_name(path.name), path=path)
    cache = fact_cache.shared()
    found = _described(folder.store(path.parent), next((each for each in models if each.path == path), alone), cache)
    cache.save()
    return found


def _described(store: Store, found: Found, cache: FactCache) -> StoredModel:
    about = cache.get(found.path, "gguf")
    problem = found.problem or about.problem
    return StoredModel(
        name=facts.printable(found.name),
        path=str(found.path),
        store=store.name,
        format=about.format,
        size=about.size,
        created=about.created,
        architecture=about.architecture,
        quantization=about.quantization,
        trained_context=about.trained_context,
        projector=str(found.projector) if found.projector else None,
        names=tuple(map(facts.printable, found.names)),
        problem=one_line(problem) if problem else None,
        removable=found.removable,
    )


def _with_own_names(models: Iterable[StoredModel]) -> list[StoredModel]:
    """Where several are called the same, the later ones are called NAME@STORE, and share the name with the first."""
    taken: set[str] = set()
    found = []
    for model in models:
        name, count = model.name, 1
        while name.casefold() in taken:
            name = f"{model.name}@{model.store}{count if count > 1 else ''}"
            count += 1
        taken.add(name.casefold())
        found.append(model if name == model.name else replace(model, name=name, names=(model.name, *model.names)))
    return found
