"""Tags that a text may have begun: what a stream must hold back. Knows nothing of what tags mean."""

from collections.abc import Collection, Iterable


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


def next_tag(text: str, tags: Collection[str]) -> tuple[int, str | None]:
    """The position of the next tag, and the tag, the longest one that begins there; or how far there is certainly none,
    and None."""
    found = [(at, -len(tag), tag) for tag in tags if tag and (at := text.find(tag)) >= 0]
    if not found:
        return len(text) - partial_length(text, tags), None
    at, _, tag = min(found)
    longer = any(other.startswith(text[at:]) and other != text[at:] for other in tags)
    return at, None if longer else tag  # another tag may begin with this one
