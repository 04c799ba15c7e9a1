"""The model that comes with Nitro (models/default_model.py), a store of one."""

from collections.abc import Iterator
from pathlib import Path

from nitro.errors import StartError
from nitro.models import default_model
from nitro.models.stores.store import Found, Store


def _roots() -> list[Path]:
    try:
        return [default_model.path().parent]
    except StartError:
        return []


def _find(root: Path) -> Iterator[Found]:
    yield Found(name=default_model.ID, path=root / default_model.FILE)


EMBEDDED = Store(name=default_model.STORE, title="Nitro", roots=_roots, find=_find)
