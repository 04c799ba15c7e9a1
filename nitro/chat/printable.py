"""What a model or a server may write to a terminal."""

import re

# Whatever but line breaks and tabs moves a cursor, begins a sequence or turns the order of letters: a model may say it,
# and a terminal would obey it.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text without control characters."""
    return CONTROL.sub("", text)
