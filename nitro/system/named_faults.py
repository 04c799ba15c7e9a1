"""The system's errors on a file that is open say nothing of its name. Here they get it, for whoever reads them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def on(file: Path) -> Iterator[None]:
    """An OSError that is raised meanwhile has this file's name, unless it has one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise
