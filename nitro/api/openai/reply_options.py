"""What the renderers of chat and text completions need to know of the request. Travels as bytes that only they open."""

import msgspec
from msgspec import Struct


class ReplyOptions(Struct, frozen=True, kw_only=True):
    """What both have in common."""

    include_usage: bool = False  # in the last chunk of a stream
    continuous_usage: bool = False  # in every chunk, as far as it is
    continuous_timings: bool = False  # the same
    return_tokens: bool = False  # token ids beside the text
    logprobs: int | None = None  # so many of the likeliest tokens beside each; None: no logprobs at all


class ChatReplyOptions(ReplyOptions, frozen=True, kw_only=True):
    """Of `POST /v1/chat/completions`."""

    legacy_functions: bool = False  # tools came as `functions`, and calls go out as `function_call`
    both_reasonings: bool = False  # reasoning goes out under two names
    hides_reasoning: bool = False  # reasoning does not go out


class CompletionReplyOptions(ReplyOptions, frozen=True, kw_only=True):
    """Of `POST /v1/completions`."""

    n: int = 1
    best_of: int = 1
    prompts: list[str | list[int]] = []  # if the reply repeats them


encode = msgspec.msgpack.Encoder().encode
decode_chat = msgspec.msgpack.Decoder(ChatReplyOptions).decode
decode_completion = msgspec.msgpack.Decoder(CompletionReplyOptions).decode
