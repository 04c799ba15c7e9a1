"""The names of the files of a split model, as llama-gguf-split writes them: NAME-00001-of-00003.gguf and so on."""

import re
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(?P<model>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SplitName:
    """A file's name, taken apart. `number` begins at 1."""

    model: str
    number: int
    count: int


def parse(name: str) -> SplitName | None:
    """`name`: a file's, without its folder. None where it is not that of a part."""
    found = _NAME.fullmatch(name)
    return SplitName(found["model"], int(found["number"]), int(found["count"])) if found else None


def model_name(name: str) -> str:
    """A file's name without ".gguf" and the number of its part."""
    part = parse(name)
    return part.model if part else name.removesuffix(".gguf")


def part_name(model: str, number: int, count: int) -> str:
    """The name of one part."""
    return f"{model}-{number:05}-of-{count:05}.gguf"


def files(path: Path) -> list[Path]:
    """The files of the model whose first file is `path`, as its name tells, whether they exist or not."""
    part = parse(path.name)
    if part is None or part.number != 1:
        return [path]
    others = range(2, part.count + 1)
    return [path, *(path.with_name(part_name(part.model, number, part.count)) for number in others)]
