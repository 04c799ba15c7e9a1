"""Parts of a content that are no text: which there are, in OpenAI's forms and those of other servers.

    image_url    {"image_url": "…" or {"url": "…", "detail": "low"}}       OpenAI, llama-server, vLLM, Ollama
    input_image  {"image_url": "…", "detail": "low"}                       OpenAI's Responses
    image        {"image": "…"}                                            what transformers' processors take
    input_audio  {"input_audio": {"data": "…", "format": "wav"}}           OpenAI; {"url": "…"}: llama-server
    audio_url    {"audio_url": "…" or {"url": "…"}}                        vLLM

Each text is a `data:` URI, base64, or an address. A format or a type that is named counts for nothing: files are known
by their first bytes. Anthropic's and Ollama's own forms are read in their folders.
"""

from collections.abc import Callable, Mapping
from typing import Any

from nitro.engines.media import MediaKind
from nitro.engines.types import MediaInfo
from nitro.errors import ApiError
from nitro.service.media.checks import check_kind
from nitro.service.media.sources import MediaSource, of_text

DETAILS = ("auto", "low", "high", "original")
LOW_SIDE = 512  # pixels of an image's longer edge under `detail: low`, as with OpenAI
# What is no text, and nothing that a model here takes
OTHER_PARTS = ("file", "input_file", "video_url", "input_video", "computer_screenshot")


def is_medium(kind: str | None) -> bool:
    """Whether a part of this type is an image or a sound, or something else that is no text."""
    return kind in _READERS or kind in OTHER_PARTS


def source(part: Mapping[str, Any], where: str, about: MediaInfo | None) -> MediaSource:
    """The medium of a part that `is_medium`. `about`: what the model takes. Raises ApiError 400."""
    type = part["type"]
    if type in OTHER_PARTS:
        raise not_taken(type, where)
    read = _READERS[type]
    check_kind("image" if read is _image else "audio", type, f"{where}.type", about)
    return read(part, where)


def not_taken(name: str, where: str) -> ApiError:
    """The 400 for a part with something in it that no model here takes."""
    message = f"Unsupported content: '{where}.type' is '{name}'. Texts, images and sounds are taken here."
    return ApiError(400, message, param=f"{where}.type", code="unsupported_content")


def _image(part: Mapping[str, Any], where: str) -> MediaSource:
    field = "image" if part["type"] == "image" and part.get("image") is not None else "image_url"
    if part.get("file_id") is not None:
        raise ApiError.unsupported(f"{where}.file_id", "names a file, and no files are kept here; send a data: URI")
    value = part.get(field)
    inner = value if isinstance(value, Mapping) else part
    param = f"{where}.{field}"
    detail = inner.get("detail")
    if detail not in (None, *DETAILS):
        at = param if inner is value else where
        raise ApiError.invalid(f"{at}.detail", f"one of {', '.join(DETAILS)}, got '{detail}'")
    side = LOW_SIDE if detail == "low" else None
    text = _text(inner.get("url") if inner is value else value, param)
    return of_text(text, kind="image", part=where, field=field, type=part["type"], max_side=side)


def _sound(part: Mapping[str, Any], where: str) -> MediaSource:
    field: str = part["type"]
    value = part.get(field)
    param = f"{where}.{field}"
    if isinstance(value, Mapping):
        value = value.get("data") if value.get("data") is not None else value.get("url")
    audio: MediaKind = "audio"
    return of_text(_text(value, param), kind=audio, part=where, field=field, type=field)


def _text(value: Any, param: str) -> str:
    if value is None:
        raise ApiError.missing(param)
    if not isinstance(value, str):
        raise ApiError.invalid(param, "a text: a data: URI, base64, or an address", code="invalid_type")
    return value


_READERS: dict[str, Callable[[Mapping[str, Any], str], MediaSource]] = {
    "image_url": _image,
    "input_image": _image,
    "image": _image,
    "input_audio": _sound,
    "audio_url": _sound,
}
