"""Which model a name means. Pure: the models are given, and nothing is read or fetched.

A name is, in this order: a model's name or one of its other names; the name of a repository of which there are several
files, then the best of them; a part that only one model has. Case counts nowhere.
"""

from collections.abc import Callable, Sequence

from nitro.errors import NitroError
from nitro.models.stored_model import StoredModel

MAX_NAME = 500  # characters
MAX_SHOWN = 20  # names in a message


class NameNotFound(NitroError):
    """No model has this name. `known`: the names that there are."""

    def __init__(self, name: str, known: list[str]):
        super().__init__(f"There is no model {name!r} here; there are {_listed(known) or 'none'}.")
        self.name, self.known = name, known


class AmbiguousName(NitroError):
    """Several models may be meant. `candidates`: their names."""

    def __init__(self, name: str, candidates: list[str]):
        super().__init__(f"{name!r} may mean several models; say which of {_listed(candidates)}.")
        self.name, self.candidates = name, candidates


def find(name: str, models: Sequence[StoredModel], best: Callable[[Sequence[StoredModel]], StoredModel]) -> StoredModel:
    """The model that `name` means. `best` chooses among forms of one model: quantisations, or a GGUF and a folder for
    MLX. Raises NameNotFound, AmbiguousName."""
    wanted = name.strip().casefold()
    if wanted and len(name) <= MAX_NAME:
        for candidates in (_named(wanted, models), _in_repository(wanted, models)):
            if candidates:
                return best(candidates)
        parts = [model for model in models if any(wanted in part.casefold() for part in _all_names(model))]
        repositories = {_group(model) for model in parts}
        if len(repositories) == 1:
            return best(parts)
        if parts:
            raise AmbiguousName(name, sorted({model.name for model in parts}))
    raise NameNotFound(name, sorted({model.name for model in models}))


def repository(model: StoredModel) -> str:
    """A model's name without its tag: "org/name" of "org/name:Q4_K_M"."""
    return model.name.partition(":")[0]


def _all_names(model: StoredModel) -> tuple[str, ...]:
    return model.name, *model.names


def _named(wanted: str, models: Sequence[StoredModel]) -> list[StoredModel]:
    """Those that are called exactly so; else those of a path or of a file's whole name."""
    exact = [model for model in models if any(wanted == name.casefold() for name in _all_names(model))]
    return exact or [model for model in models if wanted in (model.path.casefold(), f"{model.path.casefold()}/")]


def _in_repository(wanted: str, models: Sequence[StoredModel]) -> list[StoredModel]:
    """Those of the repository that is called so, with its owner or without."""
    whole = [model for model in models if repository(model).casefold() == wanted]
    return whole or [model for model in models if repository(model).casefold().rpartition("/")[2] == wanted]


def _group(model: StoredModel) -> str:
    """What models that are forms of one share. Models of no repository stand for themselves."""
    return repository(model).casefold() if ":" in model.name else model.name.casefold()


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_SHOWN])
    return f"{shown} and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else shown
