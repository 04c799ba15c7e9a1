"""A picture's file → its pixels, upright, in RGB. For encoders of every engine; only this reads such files.

What a file is was seen from its first bytes by the server, and Pillow tries no other format than those here: none that
starts a program, reads another file, or comes with a language of its own.
"""

import io
import warnings
from typing import Any

from nitro.engines.media_encoder import MediaRejected

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
MAX_PIXELS = 2**27  # of what would be 400 MB; the server refuses smaller ones, see its limits
BEHIND = (255, 255, 255)  # what shows where a picture is transparent


def read(data: bytes) -> Any:
    """A PIL.Image in mode RGB: of several frames the first, turned as its EXIF says. Raises MediaRejected."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # it is asked here, before anything is decoded
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # of damaged EXIF and the like
            if image.width * image.height > MAX_PIXELS:
                raise MediaRejected(f"it has {image.width} × {image.height} pixels; {MAX_PIXELS} are the most.")
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except MediaRejected:
        raise
    except Exception as error:  # damaged files meet every exception that there is
        raise MediaRejected(f"it is no picture that can be read ({_why(error)}).") from None


def _rgb(image: Any) -> Any:
    """Colours of 16 bits are cut to 8; what is transparent is white."""
    from PIL import Image

    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        below = Image.new("RGBA", coloured.size, BEHIND)
        return Image.alpha_composite(below, coloured).convert("RGB")
    return image.convert("RGB")


def _why(error: Exception) -> str:
    return str(error).partition(" <")[0] or type(error).__name__
