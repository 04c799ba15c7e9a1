"""Bytes of tokens → text, a piece at a time. A token may end in the middle of a character; half a character waits."""

import codecs


class Detokenizer:
    """`feed` as bytes arrive, `flush` at the end. What is no UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete now."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left: U+FFFD for half a character, else nothing."""
        return self._decoder.decode(b"", final=True)
