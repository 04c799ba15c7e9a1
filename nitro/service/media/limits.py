"""How many and how large the media of a request may be. Each limit is a flag of `nitro serve`."""

from msgspec import Struct

MAX_PIXELS = 7680 * 4320
MAX_SECONDS = 1800
MAX_MEDIA = 100
MAX_MIB = 20
FETCH_SECONDS = 10


class MediaLimits(Struct, frozen=True):
    """What a server allows."""

    pixels: int = MAX_PIXELS  # of an image: width × height
    seconds: int = MAX_SECONDS  # of a sound
    count: int = MAX_MEDIA  # images and sounds of a request
    bytes: int = MAX_MIB * 2**20  # of a file
    remote: bool = False  # whether files may be fetched from the network
    fetch_seconds: int = FETCH_SECONDS  # that all files of a request may take to be fetched
    fetched_bytes: int = 32 * 2**20  # of them all


DEFAULT_LIMITS = MediaLimits()
