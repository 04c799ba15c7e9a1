"""From a runner's pooled vectors to those that a request gets: pieces put together, cut, and made of length 1."""

import math
import struct
from typing import Any

# numpy is imported where it is needed: an engine that embeds has it, and the others begin without


def finished(pieces: list[tuple[bytes, int]], dimensions: int | None) -> bytes:
    """The vector of one input, float32 little endian, cut to so many dimensions.

    `pieces`: the pooled vector of each, and its tokens, by which the directions of several are weighted. Raises
    ValueError where there is no direction: the model's numbers are zero, or none at all.
    """
    import numpy as np

    read = [np.frombuffer(pooled, "<f4").astype(np.float64) for pooled, _ in pieces]
    if len(read) == 1:
        whole = read[0]
    else:
        whole = np.average([_unit(vector) for vector in read], axis=0, weights=[tokens for _, tokens in pieces])
    return bytes(_unit(whole[:dimensions]).astype("<f4").tobytes())


def of_number(number: float) -> bytes:
    """A vector of one number, float32."""
    return struct.pack("<f", number)


def score(vector: bytes) -> bytes:
    """It, as it is. Raises ValueError where it is no number."""
    if not math.isfinite(struct.unpack("<f", vector)[0]):
        raise ValueError("The model's score is no number: its weights are damaged, or a computation overflowed.")
    return vector


def _unit(vector: Any) -> Any:
    import numpy as np

    length = float(np.sqrt(np.dot(vector, vector)))
    if not 0.0 < length < np.inf:
        raise ValueError("The model's vector has no direction: its weights are damaged, or a computation overflowed.")
    return vector / length
