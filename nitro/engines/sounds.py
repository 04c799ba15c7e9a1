"""A sound's file → its samples. For encoders that do not decode by themselves; only this reads such files.

miniaudio decodes them, which is also what libmtmd does it with, so that both engines hear the same. It is given no
bytes that do not begin as one of three formats do.
"""

from typing import Any

import numpy as np

from nitro.engines.media import SLACK, Media
from nitro.engines.media_encoder import MediaRejected

LEAST = 12  # bytes
AT_ONCE = 2**16  # samples


def is_sound(data: bytes) -> bool:
    """Whether it begins as WAV, MP3 or FLAC, which libmtmd decodes itself (mtmd-helper.cpp:301), and MLX's sounds are
    taken from."""
    if len(data) < LEAST:
        return False
    is_wav = data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    is_mp3 = data[:3] == b"ID3" or (data[0] == 0xFF and data[1] & 0xE0 == 0xE0)
    return is_wav or is_mp3 or data[:4] == b"fLaC"


def read(media: Media, rate: int) -> np.ndarray:
    """Its samples, of all channels together: float32 [n], `rate` a second. Raises MediaRejected. No more is decoded
    than was counted before."""
    if not is_sound(media.data):
        raise MediaRejected("it is no WAV, MP3 or FLAC.")
    most = (media.seconds + SLACK) * rate if media.seconds else float("inf")
    pieces: list[Any] = []
    count = 0
    for piece in _decoded(media.data, rate):
        pieces.append(piece)
        count += len(piece)
        if count > most:
            break
    if problem := media.check_decoded(count / rate):
        raise MediaRejected(problem)
    if not count:
        raise MediaRejected("it has no sample that can be read.")
    samples = np.concatenate(pieces)
    if not np.isfinite(samples).all():
        raise MediaRejected("some of its samples are no numbers.")
    return samples


def _decoded(data: bytes, rate: int) -> Any:
    """Pieces of float32 [n]. Raises MediaRejected."""
    import miniaudio

    try:
        stream = miniaudio.stream_memory(data, miniaudio.SampleFormat.FLOAT32, 1, rate, AT_ONCE)
        for piece in stream:
            yield np.array(piece, np.float32)
    except miniaudio.MiniaudioError:
        raise MediaRejected("it is no sound that can be read.") from None
