"""The forms of `POST /v1/audio/transcriptions` and `/v1/audio/translations`, and what their replies are to be.

Shapes: OpenAI's API reference, and the types of its Python SDK.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Struct

from nitro.api.audio import names
from nitro.api.names import Known
from nitro.api.openai.requests import PARAMETERS, SamplingRequest
from nitro.parameters import Param

FORMATS = ("json", "text")
TIMED_FORMATS = ("srt", "vtt", "verbose_json", "diarized_json")  # they say when or by whom something is said
INCLUDABLE = ("logprobs",)
MAX_WORDS = 1000  # of `keywords`
MAX_LANGUAGES = 100

STREAM = Param("Stream the transcript: events of the types `transcript.text.delta` and `transcript.text.done`.")
LANGUAGE = Param("The language that is spoken: its code, as in `de`, or its name. The model is told.")


class SpeechRequest(SamplingRequest, frozen=True, kw_only=True):
    """What both have in common. A form has no types: `true` and `0.5` are read as they are written."""

    file: Annotated[str, Param("The sound: WAV, MP3 or FLAC, as its first bytes say. One file.", capability="audio")]
    model: Annotated[str | None, PARAMETERS["model"]] = None
    language: Annotated[str | None, LANGUAGE] = None
    prompt: Annotated[
        str | None, Param("A text that came before, or one in the style that is wanted. The model is told.")
    ] = None
    response_format: Annotated[
        str | None, Param("`json`, or `text` alone. Formats with times are refused.", choices=FORMATS)
    ] = None
    stream: Annotated[bool | None, STREAM] = None
    keywords: Annotated[list[str] | str | None, Param("Words that may occur. The model is told.")] = None
    max_completion_tokens: Annotated[int | None, PARAMETERS["max_completion_tokens"]] = None
    keep_alive: Annotated[float | str | None, PARAMETERS["keep_alive"]] = None


class TranscriptionRequest(SpeechRequest, frozen=True, kw_only=True):
    """`POST /v1/audio/transcriptions`."""

    known: ClassVar[Mapping[str, Known]] = names.TRANSCRIPTION

    languages: Annotated[
        list[str] | str | None, Param("Languages, one of which is spoken, as in `language`. The model is told.")
    ] = None
    include: Annotated[
        list[str] | str | None, Param("`logprobs`: add each token's log probability. With the format `json`.")
    ] = None


class TranslationRequest(SpeechRequest, frozen=True, kw_only=True):
    """`POST /v1/audio/translations`."""

    known: ClassVar[Mapping[str, Known]] = names.TRANSLATION

    to_language: Annotated[str | None, Param("The language that is wanted, as in `language`. Default: English.")] = None


class ReplyOptions(Struct, frozen=True):
    """What the reply is to be."""

    format: Literal["json", "text"] = "json"
    logprobs: bool = False


encode_options = msgspec.msgpack.Encoder().encode
decode_options = msgspec.msgpack.Decoder(ReplyOptions).decode
