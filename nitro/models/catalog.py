"""Every model that can be served: what the stores hold, and which of them a name means. Loads nothing, fetches nothing.

Methods look at files and may block. They may be called from any thread.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from nitro.errors import StartError
from nitro.models import names
from nitro.models.names import AmbiguousName as AmbiguousName
from nitro.models.names import NameNotFound as NameNotFound
from nitro.models.settings import AS_SERVED, ModelSettings
from nitro.models.stored_model import StoredModel
from nitro.system.memory import free_host_memory

FRESH = 5.0  # seconds for which a list of models is believed
AGAIN = 0.5  # seconds after which a name that is not in it is looked for again


class Catalog:
    """The models of `folders` (--models) and, if `everything` is offered, of the stores on this machine.

    `configured`: settings by name, as nitro.toml has them; their aliases are names, too. `memory`: bytes that models
    may take; None: what is free when the catalog is made. `on_gpu`: bytes free where models go, 0 if that is main
    memory; asked once, and may block; None: this machine's, if `memory` is None as well. What is loaded later does
    not change what a name means.
    """

    def __init__(
        self,
        folders: Iterable[Path] = (),
        everything: bool = True,
        configured: Mapping[str, ModelSettings] | None = None,
        clock: Callable[[], float] = time.monotonic,
        memory: int | None = None,
        on_gpu: Callable[[], int] | None = None,
    ):
        self._folders, self.everything = [*folders], everything
        self._configured = dict(configured or {})
        self._memory = free_host_memory() if memory is None else memory
        self._on_gpu = on_gpu or (_usual_gpu if memory is None else None)
        self._lock = threading.Lock()
        self._clock = clock
        self._known: list[StoredModel] = []
        self._since = -math.inf  # when the last look for them began
        self._settings: dict[str, ModelSettings] = {}  # by path
        self._shared: frozenset[str] = frozenset()

    def models(self) -> list[StoredModel]:
        """All of them, broken ones too, in the order of the stores. Of files that did not change nothing is read
        again. Those who ask while others look wait for one look together."""
        from nitro.models.stores import scan

        asked = self._clock()
        with self._lock:
            if self._since > asked:
                return self._known
            began = self._clock()
            paths = {name: settings.path for name, settings in self._configured.items() if settings.path}
            self._known = scan.models(self._folders, self.everything, paths)
            self._since = began
            self._shared = names.shared(self._known)
            self._settings = {}
            for name, settings in self._configured.items():
                with contextlib.suppress(NameNotFound, AmbiguousName):
                    self._settings[names.find(name, self._known, self._best).path] = settings
            return self._known

    def find(self, name: str) -> StoredModel:
        """The model that `name` means. Raises NameNotFound, AmbiguousName.

        It is looked for among those that were there some seconds ago, and then among those that are there now.
        """
        age = self._clock() - self._since
        if age < FRESH:
            try:
                found = self._find(name, self._known)
                if Path(found.path).exists():
                    return found
            except NameNotFound:
                if age < AGAIN:
                    raise
        return self._find(name, self.models())

    def at(self, place: str) -> StoredModel | None:
        """The model whose file or folder really is at `place`, links followed; None: no store has it."""
        return next((model for model in self.models() if os.path.realpath(model.path) == place), None)

    def is_shared(self, name: str) -> bool:
        """Whether several models had this name when they were last looked for. Does not block."""
        return name in self._shared

    def _find(self, name: str, models: list[StoredModel]) -> StoredModel:
        wanted = [spelling.casefold() for spelling in names.spellings(name.strip())]
        for key, settings in self._configured.items():
            if settings.alias and settings.alias.casefold() in wanted:
                return names.find(key, models, self._best)
        return names.find(name, models, self._best)

    def settings(self, model: StoredModel) -> ModelSettings:
        """What is set for this model, by a name that means it."""
        return self._settings.get(model.path, AS_SERVED)

    def _best(self, models: Sequence[StoredModel]) -> StoredModel:
        from nitro.models import preference

        if self._on_gpu:
            ask, self._on_gpu = self._on_gpu, None
            self._memory = ask() or self._memory
        return preference.best(models, self._memory)


def _usual_gpu() -> int:
    from nitro.engines.options import EngineOptions
    from nitro.models import device_memory

    return device_memory.free_on_gpu(EngineOptions())


def check_stores() -> None:
    """Raise StartError for a NITRO_STORES that names what is no store."""
    from nitro.models.stores import registry

    registry.chosen()


def check_folder(folder: Path) -> None:
    """Raise StartError for a --models that is no folder."""
    if not folder.expanduser().is_dir():
        raise StartError(f"--models {folder}: there is no such folder.")
