"""`metadata` of responses and conversations: pairs of texts that go back as they came."""

from collections.abc import Mapping
from typing import Any

from nitro.errors import ApiError

MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512  # characters; OpenAI's bounds


def check_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Raises ApiError 400."""
    metadata = metadata or {}
    if len(metadata) > MAX_PAIRS:
        raise ApiError.invalid("metadata", f"at most {MAX_PAIRS} names, got {len(metadata)}")
    for name, value in metadata.items():
        if not isinstance(value, str) or len(value) > MAX_VALUE or len(name) > MAX_KEY:
            expected = f"texts of at most {MAX_VALUE} characters, by names of at most {MAX_KEY}"
            raise ApiError.invalid(f"metadata.{name}"[: MAX_KEY + 20], expected)
