"""What a file is, by its first bytes. Names of files and types that clients give count for nothing.

Sources: the formats' own specifications. PNG: its signature; JPEG: start of image and a marker; GIF: GIF87a, GIF89a;
WebP: RIFF....WEBP; BMP: BM; WAV: RIFF....WAVE; FLAC: fLaC; MP3: an ID3v2 tag, or a frame's header (see mp3.py).
"""

from collections.abc import Callable

from msgspec import Struct

from nitro.engines.media import MediaKind
from nitro.service.media import mp3


class Format(Struct, frozen=True):
    """A kind of file that is taken."""

    name: str
    kind: MediaKind
    fits: Callable[[bytes], bool]  # of the first bytes


FORMATS = (
    Format("PNG", "image", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n")),
    Format("JPEG", "image", lambda data: data.startswith(b"\xff\xd8\xff")),
    Format("GIF", "image", lambda data: data[:6] in (b"GIF87a", b"GIF89a")),
    Format("WebP", "image", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP"),
    Format("BMP", "image", lambda data: data.startswith(b"BM") and data[6:10] == b"\0\0\0\0"),
    Format("WAV", "audio", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WAVE"),
    Format("FLAC", "audio", lambda data: data.startswith(b"fLaC")),
    Format("MP3", "audio", mp3.begins),
)


def of(data: bytes) -> Format | None:
    """The format of a file; None: none of those that are taken."""
    return next((format for format in FORMATS if format.fits(data)), None)


def names(kind: MediaKind) -> list[str]:
    """The formats of this kind."""
    return [format.name for format in FORMATS if format.kind == kind]
