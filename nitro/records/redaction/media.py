"""Pictures and sounds that show nothing: of the same size, so that they take as many tokens."""

import base64
import binascii
import io
import re
import wave

from PIL import Image

GREY = (128, 128, 128)
UNKNOWN = (512, 512)  # pixels of a picture that cannot be looked at, such as one behind an address
RATE = 16_000  # samples a second of a sound whose own are not known
BYTES_A_SECOND = 16_000  # of a sound that is no WAV: MP3's usual 128 kbit/s
DATA_URL = re.compile(r"data:([\w.+/-]*)((?:;[\w=.-]+)*),", re.IGNORECASE)
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")


def url(given: str) -> str:
    """A data URL in place of any URL of a picture or a sound."""
    found = DATA_URL.match(given)
    if found and found[1].startswith("audio/"):
        return f"data:audio/wav;base64,{sound(given[found.end() :])}"
    return f"data:image/png;base64,{picture(given[found.end() :] if found else '')}"


def picture(encoded: str) -> str:
    """A grey PNG of the same width and height, in base64."""
    try:
        with Image.open(io.BytesIO(_decoded(encoded))) as image:
            size = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        size = UNKNOWN
    out = io.BytesIO()
    Image.new("RGB", size, GREY).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def sound(encoded: str) -> str:
    """A silent WAV as long as the sound, in base64; of other formats the length is guessed by the bytes."""
    data = _decoded(encoded)
    try:
        with wave.open(io.BytesIO(data)) as given:
            rate, frames = given.getframerate(), given.getnframes()
    except (wave.Error, EOFError):
        rate, frames = RATE, len(data) * RATE // BYTES_A_SECOND
    out = io.BytesIO()
    with wave.open(out, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(rate)
        made.writeframes(bytes(2 * frames))
    return base64.b64encode(out.getvalue()).decode()


def is_encoded(text: str) -> bool:
    """Whether a text is a file in base64, rather than words."""
    return _ENCODED.fullmatch(text) is not None


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return b""
