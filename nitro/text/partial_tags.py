"""Tags that a text may have begun: what a stream must hold back. Knows nothing of what tags mean."""

from collections.abc import Iterable


def partial_length(text: str, tags: Iterable[str]) -> int:
    """Length of the longest end of `text` that begins one of the tags, and is not all of it."""
    longest = 0
    for tag in tags:
        at = text.find(tag[:1], max(len(text) - len(tag) + 1, 0)) if tag else -1
        while at >= 0 and not tag.startswith(text[at:]):
            at = text.find(tag[0], at + 1)
        if at >= 0:
            longest = max(longest, len(text) - at)
    return longest
