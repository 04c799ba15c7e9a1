"""Replies and events of the routes for speech. Shapes: OpenAI's API reference, "Audio"."""

import msgspec
from msgspec import UNSET, Struct, UnsetType


class SpokenToken(Struct):
    """A token of a transcript. `bytes`: null for one that has none."""

    token: str
    logprob: float
    bytes: list[int] | None


class SpeechTokenDetails(Struct):
    """What a prompt was made of."""

    audio_tokens: int
    text_tokens: int


class SpeechUsage(Struct, tag_field="type", tag="tokens"):
    """Tokens of the request and of its transcript."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: SpeechTokenDetails


class Transcript(Struct):
    """`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""

    text: str
    logprobs: list[SpokenToken] | UnsetType = UNSET
    usage: SpeechUsage | UnsetType = UNSET


class TranscriptDelta(Struct, tag_field="type", tag="transcript.text.delta"):
    """More of a transcript."""

    delta: str
    logprobs: list[SpokenToken] | UnsetType = UNSET


class TranscriptDone(Struct, tag_field="type", tag="transcript.text.done"):
    """All of it, as a stream's last event."""

    text: str
    logprobs: list[SpokenToken] | UnsetType = UNSET
    usage: SpeechUsage | UnsetType = UNSET


encode = msgspec.json.Encoder().encode
