"""API keys from a flag, a variable or a file. What is not a key is an error: it must never mean "no key"."""

import stat
from pathlib import Path

MAX_BYTES = 2**12  # of a file: it holds one key


def parse(text: str) -> str:
    """A key, without the white space around it. Raises ValueError where a client could not send it."""
    key = text.strip()
    if not key:
        raise ValueError("it is empty; leave it away to go without a key.")
    if any(character < " " or character == "\x7f" for character in key):
        raise ValueError("it holds a line break or another control character, which no header can carry.")
    return key


def read(path: Path) -> str:
    """The key in a file. Raises ValueError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes, and should hold one key.")
    return parse(content.decode(errors="surrogateescape"))
