"""Media of a request → files that an engine may decode. Nothing is decoded before its header was held to the limits.

Runs in an intake process, which may die of a file: Pillow reads headers of images there, and normalises the few images
that not every engine reads.
"""

from collections.abc import Mapping, Sequence

from nitro.engines.media import Media, MediaKind
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.service.media import formats
from nitro.service.media.kept import KeptFiles
from nitro.service.media.limits import MediaLimits
from nitro.service.media.sources import MediaSource

MAX_TOTAL = 2**28  # bytes of a request's media, those that were written anew as well
NAMES: dict[MediaKind, str] = {"image": "images", "audio": "sound"}


class MediaWanted(Exception):
    """These addresses are to be fetched first; each with what the request calls it."""

    def __init__(self, urls: dict[str, str]):
        super().__init__()
        self.urls = urls


def check_kind(kind: MediaKind, type: str, param: str, about: MediaInfo | None) -> None:
    """Raises ApiError 400 for a medium that the model does not take. `type`: what the request calls its kind."""
    if about and (about.image if kind == "image" else about.audio):
        return
    other = NAMES["image" if about.image else "audio"] if about and (about.image or about.audio) else ""
    takes = f"text and {other} only" if other else "text only"
    why = f" {about.why_not}" if about and about.why_not else ""
    message = f"Unsupported content: '{param}' is '{type}'. This model takes {takes}.{why}"
    raise ApiError(400, message, param=param, code="unsupported_content")


def check_taken(sources: Sequence[MediaSource], about: MediaInfo | None) -> None:
    """The same, of all media of a request."""
    for source in sources:
        param = f"{source.part}.type" if source.type else source.param
        check_kind(source.kind, source.type or NAMES[source.kind], param, about)


def checked(
    sources: Sequence[MediaSource], limits: MediaLimits, fetched: Mapping[str, bytes], kept: KeptFiles
) -> list[Media]:
    """The media in order. `fetched`: files by their addresses. `kept`: what became of others, which this adds to.
    Raises ApiError 400, and MediaWanted."""
    if len(sources) > limits.count:
        first = sources[limits.count]
        raise ApiError.invalid(first.param, f"at most {limits.count} images and sounds in a request (--max-media)")
    wanted = {source.url: source.param for source in sources if source.url and source.url not in fetched}
    if wanted and not limits.remote:
        param = next(iter(wanted.values()))
        raise ApiError.invalid(
            param, "a data: URI: this server fetches nothing, unless it is started with --allow-remote-media"
        )
    if wanted:
        raise MediaWanted(wanted)
    media = []
    total = 0
    for source in sources:
        media.append(_medium(source, limits, fetched.get(source.url, source.data), kept))
        total += len(media[-1].data)
        if total > MAX_TOTAL:
            most = f"at most {MAX_TOTAL} bytes together, as the engine gets them"
            raise ApiError.invalid(source.param, f"images and sounds of {most}")
    return media


def _medium(source: MediaSource, limits: MediaLimits, data: bytes, kept: KeptFiles) -> Media:
    param = source.param
    if not data:
        raise ApiError.invalid(param, f"a file with {_a(source.kind)} in it, got none")
    if len(data) > limits.bytes:
        most = f"at most {limits.bytes} bytes (--max-media-size), got {len(data)}"
        raise ApiError.invalid(param, f"a file of {most}")
    held_to = (limits, source.max_side)
    return kept.media(source.kind, data, held_to, param, lambda: _checked(source, limits, data))


def _checked(source: MediaSource, limits: MediaLimits, data: bytes) -> tuple[bytes, float]:
    """The file, and its seconds."""
    param = source.param
    format = formats.of(data)
    if format is None or format.kind != source.kind:
        known = ", ".join(formats.names(source.kind))
        got = f"got {format.name}" if format else "which shows in its first bytes"
        raise ApiError.invalid(param, f"{_a(source.kind)}: a file of one of the formats {known}, {got}")
    if source.kind == "image":
        from nitro.service.media.images import checked_image

        return checked_image(data, format.name, limits.pixels, source.max_side, param), 0.0
    from nitro.service.media.sounds import checked_sound

    return checked_sound(data, format.name, limits.seconds, param)


def _a(kind: MediaKind) -> str:
    return "an image" if kind == "image" else "a sound"
