"""Every model that can be served: what the stores hold, and which of them a name means. Loads nothing, fetches nothing.

Methods look at files and may block. They may be called from any thread.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nitro.errors import StartError
from nitro.models import names
from nitro.models.names import AmbiguousName as AmbiguousName
from nitro.models.names import NameNotFound as NameNotFound
from nitro.models.settings import AS_SERVED, ModelSettings
from nitro.models.stored_model import StoredModel

log = logging.getLogger("nitro.models")


class Catalog:
    """The models of `folders` (--models) and, if `everything` is offered, of the stores on this machine.

    `configured`: settings by name, as nitro.toml has them; their aliases are names, too.
    """

    def __init__(
        self,
        folders: Iterable[Path] = (),
        everything: bool = True,
        configured: Mapping[str, ModelSettings] | None = None,
    ):
        self._folders, self._everything = [*folders], everything
        self._configured = dict(configured or {})
        self._lock = threading.Lock()

    def models(self) -> list[StoredModel]:
        """All of them, broken ones too, in the order of the stores. Of files that did not change nothing is read
        again."""
        from nitro.models.stores import scan

        with self._lock:
            return scan.models(self._folders, self._everything)

    def find(self, name: str) -> StoredModel:
        """The model that `name` means. Raises NameNotFound, AmbiguousName."""
        models = self.models()
        wanted = name.strip().casefold()
        for key, settings in self._configured.items():
            if settings.alias and settings.alias.casefold() == wanted:
                return names.find(key, models, _best)
        return names.find(name, models, _best)

    def settings(self, model: StoredModel) -> ModelSettings:
        """What is set for this model."""
        for key, settings in self._configured.items():
            try:
                if names.find(key, [model], _best) == model:
                    return settings
            except names.NameNotFound:
                continue
        return AS_SERVED


def check_folder(folder: Path) -> None:
    """Raise StartError for a --models that is no folder."""
    if not folder.expanduser().is_dir():
        raise StartError(f"--models {folder}: there is no such folder.")


def _best(models: Sequence[StoredModel]) -> StoredModel:
    return models[0]
