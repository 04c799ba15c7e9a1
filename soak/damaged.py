"""Damaged models, made from tiny intact ones: what a broken download, a wrong conversion, or an attacker may leave. The
same seed makes the same files.

Nothing here targets a particular library: bytes are cut, flipped, and replaced by nonsense.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # where the tiny models are made

from gguf import GGMLQuantizationType as Type
from tiny_models import write_folder, write_gguf

from soak import damaged_files, damaged_folders, gguf_parts

TYPES = (Type.F32, Type.Q8_0, Type.Q4_0)
KINDS = ("plain", "rotating")


def gguf_files(seed: int, count: int, into: Path) -> Iterator[Path]:
    """So many files, one at a time, each named after its damage. The caller may remove a file before the next."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="intact-") as scratch:
        intact = [write_gguf(Path(scratch) / f"{type.name}.gguf", type).read_bytes() for type in TYPES]
    damages = list(damaged_files.DAMAGES.items())
    for number in range(count):
        random = Random(f"{seed} {number}")
        name, damage = damages[number % len(damages)]
        path = into / f"{number:03}-{name.replace(' ', '-')}.gguf"
        path.write_bytes(damage(gguf_parts.take_apart(random.choice(intact)), random))
        yield path


def folders(seed: int, count: int, into: Path) -> Iterator[Path]:
    """As `gguf_files`, but folders in mlx-lm's layout."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="intact-") as scratch:
        intact = [write_folder(Path(scratch) / kind, kind) for kind in KINDS]
        damages = list(damaged_folders.DAMAGES.items())
        for number in range(count):
            random = Random(f"{seed} {number}")
            name, damage = damages[number % len(damages)]
            path = into / f"{number:03}-{name.replace(' ', '-')}"
            shutil.copytree(random.choice(intact), path)
            damage(path, random)
            yield path


def intact(into: Path, gguf: bool) -> Path:
    """One that is not damaged: a file, or a folder in mlx-lm's layout."""
    into.mkdir(parents=True, exist_ok=True)
    return write_gguf(into / "intact.gguf") if gguf else write_folder(into / "intact", KINDS[0])
