"""Reasoning in one text that clients hand back unread: `encrypted_content`.

It hides nothing from who has it: the server has no secret that outlives it, and the text is the client's own.
"""

import base64
import binascii

_PREFIX = "nitro1."


def sealed(text: str) -> str:
    """The text of a reasoning, in base64."""
    return _PREFIX + base64.b64encode(text.encode()).decode()


def opened(sealed: str) -> str | None:
    """What `sealed` has made; None: another server has made this one, or nobody."""
    if not sealed.startswith(_PREFIX):
        return None
    try:
        return base64.b64decode(sealed[len(_PREFIX) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
