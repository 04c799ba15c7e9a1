"""Images and sounds of a prompt as an engine gets them: whole files, whose headers the server has checked.

Pure and quick to import. Knows neither how a file is decoded nor what a model makes of it.
"""

from hashlib import sha256
from typing import Literal

from msgspec import Struct

MediaKind = Literal["image", "audio"]


class Media(Struct, frozen=True):
    """A picture or a sound. `data`: a file whose format, size in pixels and length in seconds are within the server's
    limits by its header; the rest of it may still be damaged."""

    kind: MediaKind
    data: bytes
    digest: bytes  # SHA-256 of `data`
    param: str  # what the request calls it: "messages[1].content[0].image_url"

    @classmethod
    def of(cls, kind: MediaKind, data: bytes, param: str) -> "Media":
        """With its digest."""
        return cls(kind, data, sha256(data).digest(), param)
