"""What all stores hold, as StoredModels: layouts from the stores, the rest from the models' own files."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from nitro.models.fact_cache import FactCache
from nitro.models.stored_model import StoredModel
from nitro.models.stores import registry
from nitro.models.stores.store import Found, Store

log = logging.getLogger("nitro.models")
_cache: FactCache | None = None


def models(folders: Iterable[Path], everything: bool, cache: FactCache | None = None) -> list[StoredModel]:
    """The models of `folders` and, if `everything` is asked for, of the stores. A file that two stores name is listed
    once, by the first."""
    cache = cache or _shared_cache()
    found: dict[str, StoredModel] = {}
    for store in registry.stores(folders, everything):
        for model in of_store(store, cache):
            found.setdefault(model.path, model)
    cache.save()
    return [*found.values()]


def of_store(store: Store, cache: FactCache) -> Iterator[StoredModel]:
    """The models of one store. A folder that cannot be read is logged."""
    for root in store.roots():
        try:
            if root.is_dir():
                for found in store.find(root):
                    yield _described(store, found, cache)
        except OSError as error:
            log.warning("%s: %s cannot be read: %s", store.title, error.filename or root, error.strerror)


def _described(store: Store, found: Found, cache: FactCache) -> StoredModel:
    about = cache.get(found.path, "gguf")
    return StoredModel(
        name=found.name,
        path=str(found.path),
        store=store.name,
        format=about.format,  # type: ignore[arg-type]
        size=about.size,
        created=about.created,
        architecture=about.architecture,
        quantization=about.quantization,
        trained_context=about.trained_context,
        projector=str(found.projector) if found.projector else None,
        names=found.names,
        problem=found.problem or about.problem,
        removable=found.removable,
    )


def _shared_cache() -> FactCache:
    global _cache
    _cache = _cache or FactCache()
    return _cache
