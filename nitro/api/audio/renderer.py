"""Events → a transcript: JSON, a text, or a stream of `transcript.text.delta` and one `transcript.text.done`.

A stream ends with its last event: OpenAI's transcripts have no [DONE]. What the model reasons is no transcript.
"""

from collections.abc import Mapping, Sequence

from msgspec import UNSET, UnsetType

from nitro.api import sse
from nitro.api.audio import schema
from nitro.api.audio.requests import decode_options
from nitro.api.late_stream import Early
from nitro.errors import ApiError
from nitro.service.events import Done, Event, PlacedToken, Started, TextDelta, TokenUsage
from nitro.service.renderer import Answer

EARLY = Early(sse.MEDIA_TYPE, sse.HEADERS, sse.KEEPALIVE, sse.error, sse.comment)
TEXT_TYPE = "text/plain"


class TranscriptRenderer:
    """A `Renderer` of one choice."""

    media_type: str = sse.MEDIA_TYPE
    headers: Mapping[str, str] = sse.HEADERS

    def __init__(self, started: Started, options: bytes):
        self._options = decode_options(options)
        self._text: list[str] = []
        self._tokens: list[PlacedToken] = []

    def opening(self) -> bytes:
        """Nothing: a stream begins with the first delta."""
        return b""

    def events(self, burst: Sequence[Event]) -> bytes:
        """Deltas, and the end."""
        frames: list[bytes] = []
        for event in burst:
            if isinstance(event, TextDelta) and (event.text or event.tokens):
                self._text.append(event.text)
                self._tokens += event.tokens
                frames.append(sse.frame(schema.TranscriptDelta(event.text, self._logprobs(event.tokens))))
            elif isinstance(event, Done):
                text = "".join(self._text)
                frames.append(sse.frame(schema.TranscriptDone(text, self._logprobs(self._tokens), _usage(event.usage))))
        return b"".join(frames)

    def idle(self) -> bytes:
        """A comment."""
        return sse.KEEPALIVE

    def error(self, error: ApiError) -> bytes:
        """An event that clients raise on."""
        return sse.error(error)

    def closing(self) -> bytes:
        """Nothing: the last event came with the end, or the error."""
        return b""

    def whole(self, answer: Answer) -> bytes:
        """JSON, or the text and a line's end."""
        choice = answer.choices[0]
        if self._options.format == "text":
            return f"{choice.content}\n".encode()
        logprobs = self._logprobs(choice.content_scored)
        return schema.encode(schema.Transcript(choice.content, logprobs, _usage(answer.done.usage)))

    def _logprobs(self, tokens: Sequence[PlacedToken]) -> list[schema.SpokenToken] | UnsetType:
        return list(map(_token, tokens)) if self._options.logprobs else UNSET


def _token(token: PlacedToken) -> schema.SpokenToken:
    chosen = token.logprobs.chosen
    written = None if chosen.is_special else list(chosen.text)
    return schema.SpokenToken(chosen.text.decode(errors="replace"), chosen.logprob, written)


def _usage(usage: TokenUsage) -> schema.SpeechUsage:
    heard = usage.media_tokens.get("audio", 0)
    return schema.SpeechUsage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.prompt_tokens + usage.completion_tokens,
        schema.SpeechTokenDetails(heard, usage.prompt_tokens - heard),
    )
