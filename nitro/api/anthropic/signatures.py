"""Signatures of thinking: what a client sends back with the thinking of an earlier answer.

    nitro1.   and nothing more: the block has its text
    nitro1.…  zlib, then base64 (RFC 1950, 4648 with the URL's alphabet): the text that `display: omitted` leaves out

They prove nothing: a client may show the model any thinking it likes, as in chat completions. Thinking that another
server has signed is taken as it stands.
"""

import base64
import zlib

MARK = "nitro1."
MAX_TEXT = 4 * 2**20  # bytes of a request's texts; more is not unpacked, so that no small request becomes a large one


def of(thinking: str, omitted: bool) -> str:
    """The signature of a block, which carries the text where the block leaves it out."""
    if not omitted:
        return MARK
    return MARK + base64.urlsafe_b64encode(zlib.compress(thinking.encode())).decode()


def text_of(thinking: str, signature: str, most: int = MAX_TEXT) -> str:
    """The text of a block that comes back: its own, or the one that its signature carries; "" where neither is, or that
    has more bytes than `most`."""
    if thinking or not signature.startswith(MARK):
        return thinking
    try:
        packed = base64.urlsafe_b64decode(signature.removeprefix(MARK))
        unpack = zlib.decompressobj()
        text = unpack.decompress(packed, max(most, 1))
        return text.decode() if unpack.eof and len(text) <= most else ""
    except (ValueError, zlib.error):
        return ""
