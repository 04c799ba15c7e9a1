"""Files that are damaged, hostile or odd: a 400 that names the parameter, or the right picture. Nothing is decoded that
is too large, and nothing raises anything else."""

import io
import struct
from collections.abc import Iterator

import pytest
from pictures import base64_of, flac, mp3, picture, png_of, sound
from PIL import Image

from nitro.engines.media import Media, MediaKind
from nitro.errors import ApiError
from nitro.service.media import mp3 as mp3_frames
from nitro.service.media.checks import checked
from nitro.service.media.kept import KeptFiles
from nitro.service.media.limits import MediaLimits
from nitro.service.media.sources import MediaSource, of_text

LIMITS = MediaLimits(pixels=10_000, seconds=20, count=3, bytes=200_000)
IMAGES = {
    "PNG": picture((9, 7)),
    "JPEG": picture((9, 7), "JPEG"),
    "GIF": picture((9, 7), "GIF"),
    "WebP": picture((9, 7), "WEBP"),
    "BMP": picture((9, 7), "BMP"),
}
SOUNDS = {"WAV": sound(), "FLAC": flac(), "MP3": mp3()}
FILES = {**{name: ("image", data) for name, data in IMAGES.items()}, **{n: ("audio", d) for n, d in SOUNDS.items()}}
OTHERS = {
    "nothing": b"",
    "a byte": b"\0",
    "text": b"This is no picture, whatever it is called.",
    "utf-16": "\ufeffThis is no sound, whatever it is called.".encode("utf-16-le"),
    "html": b"<html><img src=x></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "json": b'{"image": 1}',
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "zip": b"PK\x03\x04" + bytes(40),
    "tiff": b"II*\0\x08\0\0\0" + bytes(40),
    "psd": b"8BPS\0\x01" + bytes(40),
    "ico": b"\0\0\x01\0\x01\0" + bytes(40),
    "mp4": b"\0\0\0\x18ftypisom" + bytes(40),
    "avif": b"\0\0\0\x1cftypavif" + bytes(40),
    "webm": b"\x1aE\xdf\xa3" + bytes(40),
    "ogg": b"OggS\0\x02" + bytes(40),
    "aiff": b"FORM\0\0\0\x20AIFF" + bytes(40),
    "avi": b"RIFF\x20\0\0\0AVI " + bytes(40),
    "hdr": b"#?RADIANCE\n" + bytes(40),
    "pnm": b"P6\n2 2\n255\n" + bytes(12),
    "executable": b"\x7fELF" + bytes(40),
}


def files() -> Iterator[tuple[str, MediaKind, bytes]]:
    """More than 300 of them, each with a name and what its request calls it."""
    for name, (kind, data) in FILES.items():
        places = [*range(0, min(len(data), 48), 3), len(data) // 3, len(data) // 2, len(data) - 1]
        for place in places:
            yield f"{name} cut at {place}", kind, data[:place]
        for place in range(0, min(len(data), 54), 5):
            for byte in (0, 255):
                yield f"{name} with {byte} at {place}", kind, data[:place] + bytes([byte]) + data[place + 1 :]
        yield f"{name} twice", kind, data + data
        yield f"{name} as the other kind", "audio" if kind == "image" else "image", data
    for name, data in OTHERS.items():
        yield f"{name} as an image", "image", data
        yield f"{name} as a sound", "audio", data


CORPUS = list(files())


def check(kind: MediaKind, data: bytes, limits: MediaLimits = LIMITS, max_side: int | None = None) -> bytes:
    source = MediaSource(kind=kind, part="p", field="f", data=data, max_side=max_side)
    (media,) = checked([source], limits, {}, KeptFiles())
    assert media.kind == kind
    return media.data


def refused(kind: MediaKind, data: bytes, limits: MediaLimits = LIMITS) -> str:
    with pytest.raises(ApiError) as caught:
        check(kind, data, limits)
    assert (caught.value.status, caught.value.param) == (400, "p.f")
    return str(caught.value)


def test_a_corpus_of_bad_files() -> None:
    refusals = 0
    for name, kind, data in CORPUS:
        try:
            taken = check(kind, data)
        except ApiError as error:
            assert (error.status, error.param) == (400, "p.f"), name
            refusals += 1
            continue
        if kind == "image" and taken != data:  # it was written anew, so it is whole
            Image.open(io.BytesIO(taken), formats=["PNG"]).load()
    assert len(CORPUS) > 300 and refusals > 200


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_what_is_no_medium_is_refused(name: str, kind: MediaKind) -> None:
    assert "expected" in refused(kind, OTHERS[name])


@pytest.mark.parametrize("size", [(101, 100), (8192, 8192), (65535, 65535), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)])
def test_bombs_by_dimension(size: tuple[int, int]) -> None:
    assert f"at most {LIMITS.pixels} pixels" in refused("image", png_of(*size))
    bmp = bytearray(IMAGES["BMP"])
    bmp[18:26] = struct.pack("<ii", *size)
    refused("image", bytes(bmp))
    gif = bytearray(IMAGES["GIF"])
    gif[6:10] = struct.pack("<HH", min(size[0], 65535), min(size[1], 65535))
    refused("image", bytes(gif))


def test_bombs_by_duration() -> None:
    expected = f"at most {LIMITS.seconds} seconds"
    assert expected in refused("audio", sound(seconds=21, rate=100))
    assert expected in refused("audio", flac(samples=2**36 - 1))
    assert expected in refused("audio", flac(samples=21 * 8000))
    assert expected in refused("audio", mp3(frames=900), MediaLimits(seconds=20))
    slow = bytearray(sound())
    slow[24:28] = struct.pack("<I", 1)  # samples a second
    assert expected in refused("audio", bytes(slow))
    check("audio", sound(seconds=19, rate=100))


def test_what_is_decoded_is_what_was_counted() -> None:
    """An engine refuses what a decoder makes longer: it was not held to the limits."""
    for data, seconds in ((sound(2.0), 2.0), (flac(samples=16000), 2.0), (mp3(100), 100 * 1152 / 44100)):
        source = MediaSource(kind="audio", part="p", field="f", data=data)
        (medium,) = checked([source], LIMITS, {}, KeptFiles())
        assert medium.seconds == pytest.approx(seconds)
        assert medium.check_decoded(seconds + 0.5) is None
        assert "it sounds for 9.0 seconds" in str(medium.check_decoded(9.0))
    assert Media.of("audio", sound(), "p.f").check_decoded(9.0) is None  # nobody has counted


def test_files_that_are_too_large_or_too_many() -> None:
    assert "at most 200000 bytes" in refused("image", picture((300, 300), "BMP"))
    with pytest.raises(ApiError) as caught:
        source = MediaSource(kind="image", part="p", field="f", data=IMAGES["PNG"])
        checked([source] * 4, LIMITS, {}, KeptFiles())
    assert "at most 3" in str(caught.value)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_usual_files_stay_as_they_are(format: str, mode: str) -> None:
    data = picture((9, 7), format, mode)
    assert check("image", data) is data


@pytest.mark.parametrize("name", ["GIF", "WebP", "BMP"])
def test_other_formats_become_png(name: str) -> None:
    made = Image.open(io.BytesIO(check("image", IMAGES[name])), formats=["PNG"])
    assert (made.size, made.mode) == ((9, 7), "RGB")
    assert made.tobytes() == Image.open(io.BytesIO(IMAGES[name])).convert("RGB").tobytes()


def _saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _made(data: bytes) -> Image.Image:
    made = Image.open(io.BytesIO(check("image", data)))
    made.load()
    return made


def test_four_colours() -> None:
    made = _made(_saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert made.mode == "RGB"
    red, green, blue = made.getpixel((3, 3))
    assert red > 200 and green < 60 and blue < 60


def test_sixteen_bits() -> None:
    grey = Image.new("I;16", (4, 4), 0x8000)
    made = _made(_saved(grey))
    assert made.getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    made = _made(_saved(image.convert(mode)))
    assert [made.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((1, 0), 1)
    made = _made(_saved(image, transparency=0))
    assert [made.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_counts(format: str) -> None:
    red, blue = (Image.new("RGB", (6, 6), colour) for colour in ((250, 0, 0), (0, 0, 250)))
    data = _saved(red, format, save_all=True, append_images=[blue], lossless=True)
    made = _made(data)
    assert made.convert("RGB").getpixel((2, 2)) == (250, 0, 0)
    assert getattr(made, "n_frames", 1) == 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_exif_says(turn: int) -> None:
    image = Image.new("RGB", (16, 8), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 8, 4))  # black: left, above
    exif = Image.Exif()
    exif[0x112] = turn
    made = _made(_saved(image, "JPEG", exif=exif, quality=95)).convert("L")
    corner = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[turn]
    assert made.size == ((16, 8) if turn < 5 else (8, 16))
    dark = (corner[0] * (made.width - 1), corner[1] * (made.height - 1))
    assert made.getpixel(dark) < 60
    assert made.getpixel((made.width - 1 - dark[0], made.height - 1 - dark[1])) > 200


def test_low_detail_is_smaller() -> None:
    data = picture((90, 30))
    made = Image.open(io.BytesIO(check("image", data, max_side=45)))
    assert made.size == (45, 15)
    assert check("image", data, max_side=90) is data


def test_a_wave_that_claims_too_much_gets_a_header_of_its_own() -> None:
    data = bytearray(sound())
    data[40:44] = data[4:8] = b"\xff" * 4
    assert check("audio", bytes(data)) == sound()


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64",
        "data:image/png;base64,%%%",
        "data:image/png;base64,ü",
        "data:image/png;base64,A",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "javascript:alert(1)",
        "C:\\picture.png",
        "https://" + "a" * 9000,
        "A" * 5,
    ],
)
def test_texts_that_hold_no_file(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        of_text(text, kind="image", part="p", field="f")
    assert (caught.value.status, caught.value.param) == (400, "p.f")


def test_base64_in_its_forms() -> None:
    data = bytes(range(256))
    text = base64_of(data)
    lines = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    for form in (text, text.rstrip("="), lines, text.translate(str.maketrans("+/", "-_")), "data:;base64," + text):
        assert of_text(form, kind="image", part="p", field="f").data == data
    assert of_text("data:,a%20b", kind="image", part="p", field="f").data == b"a b"


def test_frames_of_mp3() -> None:
    assert mp3_frames.seconds_of(mp3(100), 1e9) == pytest.approx(100 * 1152 / 44100)
    tag = b"ID3\x04\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    assert mp3_frames.seconds_of(tag + mp3(2) + b"TAG" + bytes(125), 1e9) == pytest.approx(2 * 1152 / 44100)
    assert mp3_frames.seconds_of(tag, 1e9) == 0
