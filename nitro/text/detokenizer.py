"""Turns the bytes of tokens into text, a piece at a time. A token may end in the middle of a character."""

import codecs


class Detokenizer:
    """Holds back half a character until the rest of it comes. Bytes that are no UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete now."""
        if not self._decoder.buffer:  # nearly always, and then this is several times as fast
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass
        return self._decoder.decode(data)

    def flush(self) -> str:
        """U+FFFD if half a character is left, else nothing."""
        return self._decoder.decode(b"", final=True)
