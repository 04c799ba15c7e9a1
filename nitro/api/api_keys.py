"""API keys as people pass them: by a flag, a variable or a file. The result is a key or an error, never "no key"."""

import stat
from pathlib import Path

MAX_FILE_SIZE = 2**12  # bytes; the file holds one key


def parse(text: str) -> str:
    """The key, without the white space around it. Raises ValueError if no client could send it."""
    key = text.strip()
    if not key:
        raise ValueError("it is empty; leave it out to use no key.")
    if any(character < " " or character == "\x7f" for character in key):
        raise ValueError("it holds a line break or another control character, which no header can carry.")
    return key


def read(path: Path) -> str:
    """The key in a file. Raises ValueError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file.")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ValueError(f"{error.strerror}.") from None
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(f"it is longer than {MAX_FILE_SIZE} bytes, and should hold one key.")
    return parse(content.decode(errors="surrogateescape"))
