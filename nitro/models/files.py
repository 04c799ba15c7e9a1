"""Files that no model consists of, because reading them may never end. Looks at no content."""

import stat
from pathlib import Path

SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
TEXTS = (".json", ".jinja", ".txt")
MAX_TEXT_BYTES = 2**29  # the largest tokenizers have 2**25


def problem_with(model: Path) -> str | None:
    """What is wrong with a model's file, or with one in its folder, as a sentence; None: nothing that is seen here.
    Raises OSError."""
    for file in [model, *(sorted(model.iterdir()) if model.is_dir() else [])]:
        try:
            found = file.stat()
        except (OSError, ValueError):  # a link to nowhere, say, or a name that none can have
            continue
        if kind := SPECIAL.get(stat.S_IFMT(found.st_mode)):
            return f"{file} is {kind}, and no file."
        if file.suffix in TEXTS and found.st_size > MAX_TEXT_BYTES:
            return f"{file} has {found.st_size} bytes, which no such file of a model has."
    return None
