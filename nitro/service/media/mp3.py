"""How long an MP3 file is: its frames counted, none decoded.

A frame begins with four bytes: eleven bits of sync, the version, the layer, a protection bit; then the indices of
bitrate and sample rate, a padding bit. Its size in bytes is samples / 8 × bitrate / rate + padding. Source: ISO/IEC
11172-3, 2.4.1.3, and 13818-3. A tag's claim of a length is not believed; it may be wrong.
"""

from collections.abc import Iterator

from msgspec import Struct

# kbit/s by version (1; 2 and 2.5) and layer, at the indices 1 to 14
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)  # Hz of version 1; 2 has half of it, 2.5 a quarter
_VERSIONS = {3: 1.0, 2: 2.0, 0: 2.5}
_SAMPLES = {(1, 1): 384, (1, 2): 1152, (1, 3): 1152, (2, 1): 384, (2, 2): 1152, (2, 3): 576}
FREE = 4  # bytes at least of a frame whose bitrate its header does not say


class Frame(Struct, frozen=True):
    """A frame's header. `size`: bytes, FREE where the header does not say."""

    size: int
    samples: int
    rate: int  # Hz

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return self.samples / self.rate


def frame_of(data: bytes, start: int) -> Frame | None:
    """The header that begins there; None: there is none."""
    head = data[start : start + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = _VERSIONS.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version is None or layer == 4 or bitrate == 15 or rate == 3:
        return None
    kind = (1 if version == 1 else 2, layer)
    hertz = int(_RATES[rate] / {1.0: 1, 2.0: 2, 2.5: 4}[version])
    samples = _SAMPLES[kind]
    if not bitrate:
        return Frame(FREE, samples, hertz)
    bits = _BITRATES[kind][bitrate - 1] * 1000
    padding = head[2] >> 1 & 1
    slot = 4 if layer == 1 else 1  # bytes
    return Frame((samples // (8 * slot) * bits // hertz + padding) * slot, samples, hertz)


def begins(data: bytes) -> bool:
    """Whether a file begins as MP3 does: with a tag, or with a whole frame behind which another one, or nothing,
    comes."""
    if data.startswith(b"ID3"):
        return True
    first = frame_of(data, 0)
    return first is not None and (len(data) == first.size or frame_of(data, first.size) is not None)


def seconds_of(data: bytes, most: float) -> float:
    """How long the file is; it is counted until that is more than `most`. 0: it holds no frame."""
    total = 0.0
    for frame in _frames(data):
        total += frame.seconds
        if total > most:
            break
    return total


def _frames(data: bytes) -> Iterator[Frame]:
    place = _behind_tag(data)
    while 0 <= place < len(data) - 3:
        frame = frame_of(data, place)
        if frame is None:
            place = data.find(b"\xff", place + 1)
            continue
        yield frame
        place += frame.size


def _behind_tag(data: bytes) -> int:
    """Where an ID3v2 tag ends, whose size is in four bytes of seven bits. Source: ID3v2.4, 3.1."""
    if not data.startswith(b"ID3") or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if data[5] & 0x10 else 0)
