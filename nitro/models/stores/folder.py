"""`--models DIR`: GGUF files, and folders of models for MLX or as on the hub, some levels deep."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nitro.models.stores import model_files, walking
from nitro.models.stores.store import Found, Store

NAME = "folder"


def find(root: Path) -> Iterator[Found]:
    """Each model is called as its file or folder is; where several are called the same, by the way to it."""
    found = [*_all(root)]
    count = Counter(stem for stem, _ in found)
    for stem, model in found:
        way = model.path.parent.relative_to(root) / stem
        others = (str(way),) if str(way) != stem else ()
        name = stem if count[stem] == 1 else str(way)
        yield Found(name=name, path=model.path, names=others, projector=model.projector, problem=model.problem)


def _all(root: Path) -> Iterator[tuple[str, Found]]:
    for folder, names in walking.folders(root):
        if is_checkpoint(names) and folder != root:
            yield folder.name, Found(name=folder.name, path=folder)
        yield from ((found.name, found) for found in files_in(folder, names))


def is_checkpoint(names: list[str]) -> bool:
    """Whether a folder with these files is a model's, with config.json and weights."""
    return "config.json" in names and any(map(is_weights, names))


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights of a folder's model."""
    return name.endswith((".safetensors", ".bin"))


def files_in(folder: Path, names: list[str]) -> Iterator[Found]:
    """The GGUF models among the files of one folder, called as their files are."""
    for model in model_files.of(names):
        yield Found(
            name=model.stem,
            path=folder / model.first,
            projector=folder / model.projector if model.projector else None,
            problem=problem_of(model, names),
        )


def problem_of(model: model_files.ModelFile, names: list[str]) -> str | None:
    """What a folder shows of a model's faults: parts that are missing."""
    if model.missing:
        others = f" and {len(model.missing) - 1} more" if len(model.missing) > 1 else ""
        going_on = any(name.startswith(model.missing[0]) for name in names)
        cure = "wait until it is fetched, or fetch it again" if going_on else "fetch it again"
        return f"{model.missing[0]}{others} of its parts is missing; {cure}."
    return None


def store(root: Path) -> Store:
    """The store of one such folder."""
    return Store(name=NAME, title=str(root), roots=lambda: [root], find=find)
