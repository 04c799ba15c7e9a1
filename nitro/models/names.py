"""Which model a name means. Pure: the models are given, and nothing is read or fetched.

A name is, in this order: a model's name or one of its other names; a path; the name of a repository, with its owner or
without; a part of the names of one model only. Another name that several models have means none of them. Case counts
nowhere. Of several forms of one model, quantisations or a GGUF and a folder for MLX, the best is taken. What means
nothing as it is may be written as Ollama's clients write it: with the tag `latest`, after the hub's host.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from nitro.engines.adapters import AdapterSource
from nitro.errors import NitroError, one_line
from nitro.models.stored_model import StoredModel

MAX_NAME = 500  # characters
MAX_SHOWN = 20  # names in a message
LATEST = ":latest"  # the tag that Ollama's clients add to a name without one
HUB_HOSTS = ("hf.co/", "huggingface.co/")  # and what they put before a name of the hub
# what tells a form of a model from another, at the end of a repository's name
_FORM = re.compile(r"[-._](gguf|mlx|\d+-?bit|[bf]+p?\d\d|i?q\d\w*|mxfp4|nvfp4|dwq|awq|gptq|qat|ud|imat|i1)$")


class NameNotFound(NitroError):
    """No model has this name. `known`: the names that there are."""

    def __init__(self, name: str, known: list[str]):
        super().__init__(one_line(f"There is no model '{name}' here; there are {listed(known)}."))
        self.name, self.known = name, known


class AmbiguousName(NitroError):
    """Several models may be meant. `candidates`: their names."""

    def __init__(self, name: str, candidates: list[str]):
        super().__init__(one_line(f"'{name}' may mean several models; say which of {listed(candidates)}."))
        self.name, self.candidates = name, candidates


Adapter = TypeVar("Adapter", bound=AdapterSource)
Choice = Callable[[Sequence[StoredModel]], StoredModel]


def spellings(name: str) -> list[str]:
    """A name as it is and then, where that is another, without what Ollama's clients add to it."""
    host = next((host for host in HUB_HOSTS if name.casefold().startswith(host)), "")
    bare = name[len(host) :]
    return [*dict.fromkeys((name, name.removesuffix(LATEST), bare, bare.removesuffix(LATEST)))]


def among(name: str | None, adapters: Sequence[Adapter]) -> Adapter | None:
    """The adapter of this name, to the letter, as it is or as Ollama's clients write it."""
    wanted = spellings(name) if name and adapters else ()
    return next((each for spelling in wanted for each in adapters if each.name == spelling), None)


def find(name: str, models: Sequence[StoredModel], choose: Choice) -> StoredModel:
    """The model that `name` means. `choose` takes one of several forms of a model. Raises NameNotFound,
    AmbiguousName."""
    if len(name) <= MAX_NAME:
        for spelling in spellings(name.strip()):
            if found := _find(spelling, models):
                return choose(found)
    raise NameNotFound(name, sorted(model.name for model in models))


def _find(name: str, models: Sequence[StoredModel]) -> list[StoredModel]:
    """The forms of the model that it means; none where it means none. Raises AmbiguousName."""
    wanted = name.casefold()
    if not wanted:
        return []
    named = _named(wanted, models)
    own = {family(model) for model in named if model.name.casefold() == wanted}
    for group in (
        [model for model in named if family(model) in own] or named,
        _at(name, models),
        _in_repository(wanted, models),
        [model for model in models if any(wanted in part.casefold() for part in _names(model))],
    ):
        if len({family(model) for model in group}) > 1:
            raise AmbiguousName(name, sorted(model.name for model in group))
        if group:
            return group
    return []


def repository(model: StoredModel) -> str:
    """A model's name without its tag: "org/name" of "org/name:Q4_K_M"."""
    return model.name.partition(":")[0]


def given(model: StoredModel) -> str:
    """A model's name as its store has it, without the @STORE that tells it from another of this name."""
    first = next(iter(model.names), "")
    return first if first and model.name.startswith(f"{first}@{model.store}") else model.name


def family(model: StoredModel) -> str:
    """What the forms of one model share: "qwen3-0.6b" of "unsloth/Qwen3-0.6B-GGUF:Q4_K_M" and "mlx/Qwen3-0.6B-4bit"."""
    name = repository(model).partition("@")[0].casefold().rpartition("/")[2]
    while name and (found := _FORM.search(name)):
        name = name[: found.start()]
    return name if "/" in model.name or model.store == "folder" else repository(model).casefold()


def is_whole(name: str, model: StoredModel) -> bool:
    """Whether this is a name of the model, and no part of one, its repository's or its path."""
    return bool(_named(name.strip().casefold(), [model]))


def shared(models: Sequence[StoredModel]) -> frozenset[str]:
    """Other names that several models have, to the letter."""
    count = Counter(name for model in models for name in set(model.names))
    return frozenset(name for name, times in count.items() if times > 1)


def _names(model: StoredModel) -> tuple[str, ...]:
    return model.name, *model.names


def _named(wanted: str, models: Sequence[StoredModel]) -> list[StoredModel]:
    return [model for model in models if any(wanted == name.casefold() for name in _names(model))]


def _at(path: str, models: Sequence[StoredModel]) -> list[StoredModel]:
    return [model for model in models if model.path == path.rstrip("/")]


def _in_repository(wanted: str, models: Sequence[StoredModel]) -> list[StoredModel]:
    whole = [model for model in models if repository(model).casefold() == wanted]
    short = [model for model in models if repository(model).casefold().rpartition("/")[2] == wanted]
    owners = {repository(model).casefold() for model in short}
    return whole or (short if len(owners) == 1 else [])


def listed(names: list[str]) -> str:
    """Names as a sentence has them."""
    shown = ", ".join(names[:MAX_SHOWN]) or "none"
    return f"{shown} and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else shown
