"""The blocks of a message: which there may be where, and the texts in them."""

from collections.abc import Iterator
from typing import NoReturn

from nitro.api.anthropic import names
from nitro.api.anthropic.requests import Block, ResultBlock
from nitro.api.prefix_cache import CacheControl
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service.media.checks import check_kind
from nitro.service.media.sources import REMOTE, MediaSource, of_text

MAX_BLOCKS = 10_000  # of one content

# by the role of a message: the types of its blocks
ALLOWED = {
    "user": ("text", "image", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text", "tool_addition", "tool_removal"),
}
FAILED = "Error: "  # stands before the result of a call that has failed


def of(content: str | list[Block] | None, role: str, where: str) -> list[tuple[Block, str]]:
    """The blocks of a message, each with its place. Raises ApiError 400 for a kind that cannot stand there."""
    if isinstance(content, str):
        return [(Block("text", content), where)]
    check_count(where, content or [], MAX_BLOCKS, "blocks")
    found = [(block, f"{where}[{i}]") for i, block in enumerate(content or [])]
    for block, place in found:
        if block.type not in ALLOWED[role]:
            refuse(block.type, ALLOWED[role], place)
    return found


def refuse(kind: str, allowed: tuple[str, ...], where: str) -> NoReturn:
    """Raises ApiError 400 for a block of this type."""
    if why := names.REFUSED_BLOCKS.get(kind):
        message = f"Unsupported block: '{where}.type' is '{kind}'. {why}."
        raise ApiError(400, message, param=f"{where}.type", code="unsupported_content")
    raise ApiError.invalid(f"{where}.type", f"one of {', '.join(allowed)}, got '{kind}'")


def text(block: Block | ResultBlock, where: str) -> str:
    """The text of a text block. Raises ApiError 400."""
    if block.text is None:
        raise ApiError.missing(f"{where}.text")
    return block.text


def result_id(block: Block, where: str) -> str:
    """The call whose result a block has. Raises ApiError 400."""
    if block.tool_use_id is None:
        raise ApiError.missing(f"{where}.tool_use_id")
    return block.tool_use_id


SOURCES = ("base64", "url")


def image(block: Block | ResultBlock, where: str, about: MediaInfo | None) -> MediaSource:
    """The image of an image block. `about`: what the model takes. Raises ApiError 400."""
    check_kind("image", block.type, f"{where}.type", about)
    if block.source is None:
        raise ApiError.missing(f"{where}.source")
    kind = block.source.type
    if kind not in SOURCES:
        raise ApiError.invalid(f"{where}.source.type", f"one of {', '.join(SOURCES)}, got '{kind}'")
    field = "data" if kind == "base64" else "url"
    text = getattr(block.source, field)
    if text is None:
        raise ApiError.missing(f"{where}.source.{field}")
    if kind == "url" and not text[:8].lower().startswith(REMOTE):
        raise ApiError.invalid(f"{where}.source.url", "an address that begins with https:// or http://")
    if kind == "base64":
        text = f"data:;base64,{text}"
    return of_text(text, kind="image", part=where, field=f"source.{field}", type=block.type)


def result_parts(block: Block, where: str) -> Iterator[tuple[str | ResultBlock, CacheControl | None, str]]:
    """The texts, and blocks with an image, of a tool's result, each with its cache control and its place. Raises
    ApiError 400."""
    where = f"{where}.content"
    content = block.content if isinstance(block.content, list) else [block.content]
    check_count(where, content, MAX_BLOCKS, "blocks")
    fails = bool(block.is_error)
    for i, part in enumerate(content or [None]):
        place = f"{where}[{i}]" if isinstance(block.content, list) else where
        if isinstance(part, ResultBlock) and part.type == "image":
            yield part, part.cache_control, place
            continue
        text = _result_text(part, place) if isinstance(part, ResultBlock) else part or ""
        if fails and not text.lower().startswith("error"):
            text = FAILED + text
        fails = False
        yield text, part.cache_control if isinstance(part, ResultBlock) else None, place


def _result_text(block: ResultBlock, where: str) -> str:
    if block.type == "text":
        return text(block, where)
    if block.type == "tool_reference":
        if block.tool_name is None:
            raise ApiError.missing(f"{where}.tool_name")
        return f"The tool {block.tool_name} can be called from now on."
    refuse(block.type, ("text", "image", "tool_reference"), where)
