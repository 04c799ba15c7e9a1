"""Which files of a repository of the hub are right for this machine, and why. Pure: it sees names and sizes.

Of GGUF files it takes the best type that fits, with all parts and the projector; of a folder for MLX all that mlx-lm
reads. What a name forces ("org/name:Q4_K_M") is taken whether it fits or not.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, Literal

from msgspec import Struct

from nitro.models import quantizations
from nitro.models.repository import (
    PROJECTOR,
    SUFFIX,
    GgufModel,
    Repository,
    RepositoryFile,
    companion,
    gguf_models,
    is_gguf,
    projector_for,
)

# What a model takes beside its weights: KV cache of a short context, buffers. A share of the weights, and at least.
ROOM_SHARE, ROOM_BYTES = 0.2, 400 * 10**6
# Types with fewer bits are taken only where no better one fits into any memory of the machine.
LEAST_GOOD = quantizations.rank("Q4_0")
MAX_NAMED = 30  # types in a sentence
# mlx-lm 0.32.2 (utils.DEFAULT_ALLOW_PATTERNS) but for Python code, which is never run
FOLDER_FILES = ("*.json", "model*.safetensors", "tokenizer.model", "*.tiktoken", "*.txt", "*.jsonl", "*.jinja")
WEIGHTS = "model*.safetensors"


class Memory(Struct, frozen=True):
    """Memory that a model's weights may lie in."""

    name: str  # "GPU memory"
    size: int  # bytes


class Machine(Struct, frozen=True):
    """What is known of a machine. `memories`: the fastest first. `engines`: installed ones, as --engine auto tries
    them."""

    memories: tuple[Memory, ...]
    engines: tuple[str, ...] = ("llama",)

    @property
    def opens_mlx(self) -> bool:
        """Whether MLX is installed."""
        return "mlx" in self.engines

    @property
    def prefers_mlx(self) -> bool:
        """Whether a name means what MLX runs best."""
        return self.engines[:1] == ("mlx",)

    def holds(self, size: int) -> str:
        """The name of the first memory that holds so many bytes; empty where none does."""
        return next((memory.name for memory in self.memories if size <= memory.size), "")

    def __str__(self) -> str:
        return ", ".join(f"{_gigabytes(memory.size)} of {memory.name}" for memory in self.memories)


class Row(Struct, frozen=True, kw_only=True):
    """A line of the table that tells the choice."""

    file: str  # the first, of a model in parts
    type: str = ""
    size: int  # of all parts
    fits: str | None = None  # the memory that holds it; empty where none does; None for what goes along
    chosen: bool = False
    reason: str = ""


class Choice(Struct, frozen=True, kw_only=True):
    """What to fetch. `problem` says why it is nothing, as a sentence with what to do."""

    format: Literal["gguf", "folder"] = "gguf"
    files: tuple[RepositoryFile, ...] = ()
    tag: str = ""  # that means it, after the repository's name
    rows: tuple[Row, ...] = ()
    problem: str | None = None


def choose(repository: Repository, machine: Machine, tag: str = "") -> Choice:
    """The files to fetch. `tag`: a type or a file's name that the user has asked for."""
    models = gguf_models(repository.files)
    folder = _folder(repository.files)
    is_packed = _is_packed_for_mlx(repository)
    if folder and not tag and ((machine.prefers_mlx and is_packed) or not models):
        return _choose_folder(repository, machine, folder)
    if models:
        return _choose_gguf(repository, machine, models, tag)
    if tag and folder:
        return Choice(problem=f"{repository.name} has no GGUF files, so there is no {tag} of it; leave :{tag} away.")
    rows = tuple(_companion_row(file, None) for file in repository.files if is_gguf(file))
    return Choice(rows=rows, problem=_nothing(repository))


def needed(weights: int) -> int:
    """Bytes that a model with so many bytes of weights takes, with a short context."""
    return weights + max(int(weights * ROOM_SHARE), ROOM_BYTES)


# GGUF files


def _choose_gguf(repository: Repository, machine: Machine, models: list[GgufModel], tag: str) -> Choice:
    main = _main(repository, models)
    projectors = [file for file in repository.files if companion(file.name) == PROJECTOR]
    needs = {model.stem: _needed(model, projector_for(model, projectors)) for model in models}
    chosen: GgufModel | None
    if tag:
        chosen, problem = _asked_for(repository, models, tag)
        why = f"asked for by :{tag}"
    else:
        chosen, why, problem = _best_that_fits(repository, machine, main, needs)
    extra = projector_for(chosen, projectors) if chosen else None
    rows = [_row(machine, model, needs[model.stem], main, chosen, why) for model in _best_first(models)]
    rows += [_companion_row(file, extra) for file in repository.files if companion(file.name) and is_gguf(file)]
    if chosen is None:
        return Choice(rows=tuple(rows), problem=problem)
    files = (*chosen.parts, *([extra] if extra else []))
    return Choice(files=files, tag=_tag_of(chosen, models), rows=tuple(rows))


def _needed(model: GgufModel, projector: RepositoryFile | None) -> int:
    return needed(model.size + (projector.size if projector else 0))


def _main(repository: Repository, models: list[GgufModel]) -> list[GgufModel]:
    """The files of the model that the repository is of, where it holds others too: the one that is called as it is,
    else the one in most types."""
    groups: dict[str, list[GgufModel]] = {}
    for model in models:
        groups.setdefault(model.base, []).append(model)
    name = repository.name.rpartition("/")[2].lower().removesuffix("-gguf")
    return max(groups.items(), key=lambda group: (group[0] == name, len(group[1])))[1]


def _best_first(models: Sequence[GgufModel]) -> list[GgufModel]:
    """Of a model that is there whole and in parts, the whole one comes first."""
    return sorted(models, key=lambda model: (quantizations.rank(model.tag), -model.size, model.count, model.stem))


def _best_that_fits(
    repository: Repository, machine: Machine, models: list[GgufModel], needs: Mapping[str, int]
) -> tuple[GgufModel | None, str, str | None]:
    """The model, why it is the one, and what is wrong where there is none."""
    whole = [model for model in _best_first(models) if model.is_whole]
    unquantized = [model for model in whole if quantizations.is_unquantized(model.tag)]
    quantized = [model for model in whole if model not in unquantized]
    good = [model for model in quantized if quantizations.rank(model.tag) <= LEAST_GOOD]
    for candidates, words in ((good, "the best"), (unquantized, "unquantised, the first"), (quantized, "the best")):
        for memory in machine.memories:
            for model in candidates:
                if needs[model.stem] <= memory.size:
                    return model, f"{words} that fits into {_gigabytes(memory.size)} of {memory.name}", None
    if not whole:
        return None, "", f"{repository.name}: {_missing(models[0])}."
    least = min(whole, key=lambda model: model.size)
    problem = (
        f"Nothing of {repository.name} fits into this machine ({machine}): the smallest, {_tag_of(least, models)}, "
        f"needs {_gigabytes(needs[least.stem])}. Take a smaller model, or ask for it all the same: "
        f"{repository.name}:{_tag_of(least, models)}."
    )
    return None, "", problem


def _asked_for(repository: Repository, models: list[GgufModel], tag: str) -> tuple[GgufModel | None, str | None]:
    """The model that a tag means: its type, in any case and without UD-, or its file's name."""
    wanted = tag.lower().removesuffix(SUFFIX)

    def called(model: GgufModel) -> tuple[str, ...]:
        first = model.parts[0].path[: -len(SUFFIX)]
        return model.stem, model.name, first, first.rpartition("/")[2]

    ways = (
        [model for model in models if wanted == model.tag.lower()],
        [model for model in models if wanted == model.tag.lower().removeprefix("ud-")],
        [model for model in models if wanted in map(str.lower, called(model))],
    )
    found = next(filter(None, ways), [])
    if not found:
        return None, f"{repository.name} has no {tag}; there are {_names(models)}."
    if len({model.base for model in found}) > 1:
        files = ", ".join(model.parts[0].path for model in found[:MAX_NAMED])
        return None, f"{repository.name} has more than one {tag}: {files}. Name the file: {repository.name}:FILE.gguf."
    best = min(found, key=lambda model: (not model.is_whole, model.count))
    if not best.is_whole:
        return None, f"{repository.name}: {_missing(best)}. Ask for another: {_names(models)}."
    return best, None


def _tag_of(model: GgufModel, models: Sequence[GgufModel]) -> str:
    """What means this model and no other."""
    alike = {other.base for other in models if other.tag == model.tag}
    return model.tag if model.tag and len(alike) == 1 else model.name


def _names(models: Sequence[GgufModel]) -> str:
    names = list(dict.fromkeys(_tag_of(model, models) for model in _best_first(models) if model.is_whole))
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _missing(model: GgufModel) -> str:
    return f"of {model.stem}{SUFFIX} {len(model.parts)} of {model.count} parts are in the repository"


# The table


def _row(
    machine: Machine, model: GgufModel, needs: int, main: list[GgufModel], chosen: GgufModel | None, why: str
) -> Row:
    fits = machine.holds(needs)
    if model is chosen:
        reason = why
    elif not model.is_whole:
        reason = _missing(model)
    elif model not in main:
        reason = "another model"
    elif chosen and model.tag == chosen.tag:
        reason = "the same in more files" if model.count > chosen.count else "the same again"
    elif not fits:
        reason = f"needs {_gigabytes(needs)}"
    elif quantizations.is_unquantized(model.tag):
        reason = "unquantised: larger and slower, and hardly better than Q8_0"
    else:
        reason = ""
    parts = f" (and {model.count - 1} more)" if model.count > 1 else ""
    file = model.parts[0].path + parts
    return Row(file=file, type=model.tag, size=model.size, fits=fits, chosen=model is chosen, reason=reason)


def _companion_row(file: RepositoryFile, projector: RepositoryFile | None) -> Row:
    if file != projector:
        return Row(file=file.path, type=file.type, size=file.size, reason=companion(file.name))
    return Row(file=file.path, type=file.type, size=file.size, chosen=True, reason="lets the model see or hear")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


# Folders


def _folder(files: Sequence[RepositoryFile]) -> tuple[RepositoryFile, ...]:
    """The files that mlx-lm reads; empty where the repository is no model's folder."""
    top = [file for file in files if "/" not in file.path]
    if not any(fnmatch(file.name, WEIGHTS) for file in top) or not any(file.name == "config.json" for file in top):
        return ()
    return tuple(file for file in top if any(fnmatch(file.name, pattern) for pattern in FOLDER_FILES))


def _is_packed_for_mlx(repository: Repository) -> bool:
    """mlx_lm.convert writes `quantization` into config.json, and the tag "mlx" into the hub's card."""
    return "mlx" in repository.tags or isinstance(repository.config.get("quantization"), dict)


def _choose_folder(repository: Repository, machine: Machine, folder: tuple[RepositoryFile, ...]) -> Choice:
    size = sum(file.size for file in folder if fnmatch(file.name, WEIGHTS))
    fits = machine.holds(needed(size))
    problem = None
    name = repository.name.rpartition("/")[2]
    if not machine.opens_mlx and _is_packed_for_mlx(repository):
        problem = (
            f"{repository.name} is packed for MLX, which is not installed here: take a repository with GGUF files "
            f"of the same model."
        )
    elif not machine.opens_mlx:
        problem = (
            f"{repository.name} has no GGUF files, and MLX, which would open it as it is, is not installed here. Take "
            f"a repository with GGUF files of it, or make one: hf download {repository.name} --local-dir {name} && "
            f"nitro convert {name} --to gguf --type Q8_0."
        )
    elif not fits:
        problem = (
            f"{repository.name} needs {_gigabytes(needed(size))}, and this machine has {machine}: take a model with "
            f"fewer parameters or bits."
        )
    type = _bits(repository.config)
    rows = tuple(
        Row(file=file.path, type=type if fnmatch(file.name, WEIGHTS) else "", size=file.size, fits=fits,
            chosen=problem is None, reason="" if problem else "MLX reads it")
        for file in folder
    )  # fmt: skip
    return Choice(format="folder", files=() if problem else folder, rows=rows, problem=problem)


def _bits(config: Mapping[str, Any]) -> str:
    packing = config.get("quantization")
    bits = packing.get("bits") if isinstance(packing, dict) else None
    return f"{bits}-bit" if isinstance(bits, int) else str(config.get("torch_dtype") or config.get("dtype") or "")


def _nothing(repository: Repository) -> str:
    pieces = [file.name for file in repository.files if SUFFIX + ".part" in file.name.lower()]
    if pieces:
        return (
            f"{repository.name} has GGUF files that were cut with other tools ({pieces[0]}): fetch and join them with "
            f"`hf download` and `cat`, and serve the file."
        )
    return (
        f"{repository.name} has nothing that Nitro opens: no GGUF file, and no folder with config.json and "
        f"model*.safetensors. Take a repository with GGUF files of the model."
    )
