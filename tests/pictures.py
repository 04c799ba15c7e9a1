"""Small files of images and sounds for tests, and how requests hold them."""

import base64
import io
import struct
import wave
import zlib
from typing import Any

from PIL import Image


def picture(size: tuple[int, int] = (4, 4), format: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """A file with a picture whose pixels all differ a little."""
    width, height = size
    image = Image.new("RGB", size)
    image.putdata([(x * 40 % 256, y * 40 % 256, (x + y) % 256) for y in range(height) for x in range(width)])
    file = io.BytesIO()
    image.convert(mode).save(file, format, **options)
    return file.getvalue()


def sound(seconds: float = 0.1, rate: int = 8000) -> bytes:
    """A WAV file of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(bytes(2 * int(seconds * rate)))
    return file.getvalue()


def mp3(frames: int = 3) -> bytes:
    """Frames of 26 ms: MPEG 1, layer III, 128 kbit/s at 44,100 Hz, all silent."""
    return (b"\xff\xfb\x90\x00" + bytes(413)) * frames


def flac(samples: int = 800, rate: int = 8000) -> bytes:
    """The head of a FLAC file with one channel of 16 bits, and no frame."""
    packed = rate << 44 | 0 << 41 | 15 << 36 | samples
    return b"fLaC\x80" + struct.pack(">I", 34)[1:] + bytes(10) + packed.to_bytes(8) + bytes(16)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it has this size, and has next to nothing in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64_of(data)}"


def image_part(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri(data), **more}}


def sound_part(data: bytes, format: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64_of(data), "format": format}}
