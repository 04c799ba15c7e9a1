"""The limits of connections as a server's config sets them. All limits there are: scripts/limits.py, docs/limits.md."""

from nitro.api.connections import ConnectionLimits
from nitro.config import ServeConfig


def of_connections(config: ServeConfig, most: int) -> ConnectionLimits:
    """Of what clients may send and leave unread. `most`: connections that there can be."""
    return ConnectionLimits(
        head=config.head_seconds,
        head_bytes=config.max_head * 2**10,
        silence=config.body_seconds,
        rate=config.min_rate,
        unread=config.unread_seconds,
        unread_bytes=config.max_unread * 2**20,
        most=most,
    )
