"""Images: a header is read and held to the limits; the few images that not every engine reads alike become a PNG.

What an engine gets is the client's own file, but for: files that are turned by EXIF, that have several pictures, an
alpha channel, four colours (CMYK), 16 bits, or a format that llama.cpp has no decoder for. Those are decoded here, in a
process that may die of it, and written anew as PNG of 8 bits, which loses nothing that a model sees. What is
transparent is white: a model has no background of its own.
"""

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from nitro.errors import ApiError

Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and counts before anything is decoded
PLAIN_FORMATS = ("PNG", "JPEG")
PLAIN_MODES = ("RGB", "L", "1", "P")
WIDE_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
ORIENTATION = 0x112  # of EXIF
UPRIGHT = (None, 1)
_LOADERS = {"PNG": ("PNG",), "JPEG": ("JPEG", "MPO"), "GIF": ("GIF",), "WebP": ("WEBP",), "BMP": ("BMP",)}
_BACKGROUND = (255, 255, 255)


def checked_image(data: bytes, format: str, most: int, max_side: int | None, param: str) -> bytes:
    """The file, or another with the same picture. `most`: pixels. `max_side`: the longest edge, to which it is shrunk.
    Raises ApiError 400."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what metadata is wrong in
            with Image.open(io.BytesIO(data), formats=_LOADERS[format]) as image:
                _check_size(image, most, param)
                if _is_plain(image, format) and not _is_larger(image, max_side):
                    return data
                return _as_png(image, max_side)
    except ApiError:
        raise
    except MemoryError:
        raise ApiError.invalid(param, "an image that takes less memory") from None
    except UnidentifiedImageError:
        raise ApiError.invalid(param, f"an image; this {format} file has no header that can be read") from None
    except Exception as error:  # whatever a decoder stumbles over
        raise ApiError.invalid(param, f"an image; this {format} file cannot be read: {_brief(error)}") from None


def _check_size(image: Image.Image, most: int, param: str) -> None:
    width, height = image.size
    if width * height > most:
        got = f"got {width} × {height}"
        raise ApiError.invalid(param, f"an image of at most {most} pixels (--max-image-pixels), {got}")
    if not width or not height:
        raise ApiError.invalid(param, f"an image with a pixel, got {width} × {height}")


def _is_plain(image: Image.Image, format: str) -> bool:
    """Whether every engine sees the same in the file as it is."""
    return (
        format in PLAIN_FORMATS
        and image.mode in PLAIN_MODES
        and "transparency" not in image.info
        and getattr(image, "n_frames", 1) == 1
        and image.getexif().get(ORIENTATION) in UPRIGHT
    )


def _is_larger(image: Image.Image, max_side: int | None) -> bool:
    return max_side is not None and max(image.size) > max_side


def _as_png(image: Image.Image, max_side: int | None) -> bytes:
    if _is_larger(image, max_side):
        assert max_side is not None
        image.draft("RGB", (max_side, max_side))  # a JPEG is decoded smaller, which takes less
    image.load()
    picture = _as_rgb(ImageOps.exif_transpose(image))
    if _is_larger(picture, max_side):
        assert max_side is not None
        picture.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=1)
    return written.getvalue()


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in WIDE_MODES:
        return _narrowed(image).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        ground = Image.new("RGB", image.size, _BACKGROUND)
        ground.paste(coloured, mask=coloured.getchannel("A"))
        return ground
    return image.convert("RGB")


def _narrowed(image: Image.Image) -> Image.Image:
    """Grey of 16 bits in 8. Pillow's own conversion cuts off what is above 255."""
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")
