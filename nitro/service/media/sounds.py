"""Sounds: how long a file is by its header, before anything of it is decoded.

WAV: chunks of a name, a size and that many bytes; "fmt " says how samples are written, "data" has them. Source: RIFF
MCI, "Waveform Audio File Format". FLAC: the first block of metadata has 20 bits of sample rate and 36 of the number of
samples. Source: RFC 9639, 8.2. MP3: see mp3.py.
"""

import struct
from collections.abc import Callable

from nitro.errors import ApiError
from nitro.service.media import mp3

# How samples may be written, by the number in "fmt ": integers, floats, A-law, μ-law; what an extension says
WAV_ENCODINGS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,)}
EXTENSIBLE = 0xFFFE
MAX_CHANNELS = 8
MAX_RATE = 384_000  # Hz


def checked_sound(data: bytes, format: str, most: int, param: str) -> tuple[bytes, float]:
    """The file, and its seconds, which are no more than `most`. Raises ApiError 400."""
    return _CHECKS[format](data, most, param)


def _length(seconds: float, most: int, param: str) -> float:
    if seconds > most:
        raise ApiError.invalid(param, f"a sound of at most {most} seconds (--max-audio-seconds), got {seconds:.1f}")
    if seconds <= 0:
        raise ApiError.invalid(param, "a sound, got a file without a sample")
    return seconds


def _wav(data: bytes, most: int, param: str) -> tuple[bytes, float]:
    place, rate, block, form = 12, 0, 0, b""
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"fmt ":
            form = data[place : place + 8 + size]
            rate, block = _wave_form(data[place + 8 : place + 8 + size], param)
        elif name == b"data":
            if not block:
                raise ApiError.invalid(param, "a WAV file whose 'fmt ' comes before its 'data'")
            return _wave(data, place, form, rate * block, most, param)
        place += 8 + size + size % 2
    raise ApiError.invalid(param, "a WAV file with 'fmt ' and 'data' in it; this one ends before")


def _wave_form(form: bytes, param: str) -> tuple[int, int]:
    """Samples a second, and bytes of a sample of all channels. Raises ApiError 400."""
    if len(form) < 16:
        raise ApiError.invalid(param, "a WAV file whose 'fmt ' has at least 16 bytes")
    encoding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", form)
    if encoding == EXTENSIBLE and len(form) >= 26:
        (encoding,) = struct.unpack_from("<H", form, 24)
    if bits not in WAV_ENCODINGS.get(encoding, ()):
        raise ApiError.invalid(
            param, f"a WAV file of integers, floats, A-law or μ-law, got {encoding} with {bits} bits"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise ApiError.invalid(param, f"a sound of 1 to {MAX_CHANNELS} channels, got {channels}")
    if not 1 <= rate <= MAX_RATE:
        raise ApiError.invalid(param, f"a sound of at most {MAX_RATE} samples a second, got {rate}")
    if block != channels * bits // 8:
        raise ApiError.invalid(param, f"a WAV file with {channels * bits // 8} bytes to a sample, got {block}")
    return rate, block


def _wave(data: bytes, place: int, form: bytes, speed: int, most: int, param: str) -> tuple[bytes, float]:
    """The file, whose samples begin there, `speed` bytes a second. What is written while it is recorded claims any
    size: it gets a header of its own."""
    (claimed,) = struct.unpack_from("<I", data, place + 4)
    left = len(data) - place - 8
    seconds = _length(min(claimed, left) / speed, most, param)
    if claimed <= left:
        return data, seconds
    samples = data[place + 8 :]
    whole = (
        b"RIFF"
        + struct.pack("<I", 4 + len(form) + 8 + left)
        + b"WAVE"
        + form
        + b"data"
        + struct.pack("<I", left)
        + samples
    )
    return whole, seconds


def _flac(data: bytes, most: int, param: str) -> tuple[bytes, float]:
    if len(data) < 26 or data[4] & 0x7F:
        raise ApiError.invalid(param, "a FLAC file that begins with its STREAMINFO")
    packed = int.from_bytes(data[18:26])
    rate, samples = packed >> 44, packed & 2**36 - 1
    if not 1 <= rate <= MAX_RATE:
        raise ApiError.invalid(param, f"a sound of at most {MAX_RATE} samples a second, got {rate}")
    if not samples:
        raise ApiError.invalid(param, "a FLAC file whose header says how many samples it has")
    return data, _length(samples / rate, most, param)


def _mp3(data: bytes, most: int, param: str) -> tuple[bytes, float]:
    return data, _length(mp3.seconds_of(data, most), most, param)


_CHECKS: dict[str, Callable[[bytes, int, str], tuple[bytes, float]]] = {"WAV": _wav, "FLAC": _flac, "MP3": _mp3}
