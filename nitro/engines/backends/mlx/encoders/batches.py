"""Which sequences are computed together: those of about one length, since all are padded to the longest. Pure."""

from collections.abc import Sequence


def of_similar_length(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """The places of the sequences, by batch, the longest first. `limit`: tokens of a batch with its padding; a longer
    sequence is alone."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= limit:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def padded(rows: Sequence[Sequence[int]], padding: int = 0) -> list[list[int]]:
    """The rows, all as long as the longest."""
    length = max(map(len, rows))
    return [[*row, *[padding] * (length - len(row))] for row in rows]
