"""API keys as people give them: by a flag, a variable, or a file. What is given is a key, or an error: never none."""

import stat
from pathlib import Path

LONGEST = 2**12  # bytes of a file: it holds one key


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
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise ValueError(f"{error.strerror}.") from None
    if len(content) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} bytes, and should hold one key.")
    return parse(content.decode(errors="surrogateescape"))


def in_bytes(key: str) -> bytes:
    """As clients send it. What was no UTF-8 on the command line is sent as it was there."""
    return key.encode(errors="surrogateescape")
