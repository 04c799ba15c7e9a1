"""Images and sounds of a prompt as an engine gets them: whole files, whose headers the server has checked.

Pure and quick to import. Knows neither how a file is decoded nor what a model makes of it.
"""

from hashlib import sha256
from typing import Literal

from msgspec import Struct

SLACK = 1.0  # seconds: decoders end with whole blocks
MediaKind = Literal["image", "audio"]


class Media(Struct, frozen=True):
    """A picture or a sound. `data`: a file whose format, size in pixels and length in seconds are within the server's
    limits by its header; the rest of it may still be damaged."""

    kind: MediaKind
    data: bytes
    digest: bytes  # SHA-256 of `data`
    param: str  # what the request calls it: "messages[1].content[0].image_url"
    seconds: float = 0.0  # of a sound, as it was counted without decoding it; 0: it was not

    @classmethod
    def of(cls, kind: MediaKind, data: bytes, param: str) -> "Media":
        """With its digest."""
        return cls(kind, data, sha256(data).digest(), param)

    def check_decoded(self, seconds: float) -> str | None:
        """Why a sound that was decoded to so many seconds is not what was held to the limits; None: it is. Decoders
        may find frames where the count has seen none."""
        if not self.seconds or seconds <= self.seconds + SLACK:
            return None
        return f"it sounds for {seconds:.1f} seconds, and its frames were counted as {self.seconds:.1f}."
