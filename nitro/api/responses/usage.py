"""Counts, logprobs and errors as the Responses API writes them."""

from nitro.api.responses import events, schema
from nitro.engines.types import ScoredToken
from nitro.errors import ApiError
from nitro.service.events import PlacedToken, TokenUsage


def usage_of(usage: TokenUsage) -> schema.ResponseUsage:
    """Of one answer."""
    return schema.ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=schema.InputTokensDetails(usage.cached_tokens, usage.cache_write_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=schema.OutputTokensDetails(usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def logprobs_of(tokens: list[PlacedToken]) -> list[schema.ResponseLogprob]:
    """Each with the likeliest at its place."""
    return [
        schema.ResponseLogprob(
            *_spelled(token.logprobs.chosen), [schema.ResponseTopLogprob(*_spelled(top)) for top in token.logprobs.top]
        )
        for token in tokens
    ]


def covering(tokens: list[PlacedToken], text: str) -> list[PlacedToken]:
    """The last tokens, as many as the text takes: what comes before them are tags, which are part of no text."""
    left, first = len(text), len(tokens)
    while first and left > 0:
        first -= 1
        left -= tokens[first].end - tokens[first].begin
    return tokens[first:]


def _spelled(scored: ScoredToken) -> tuple[str, float, list[int]]:
    """Token, logprob, bytes."""
    return scored.text.decode(errors="replace"), scored.logprob, [] if scored.is_special else list(scored.text)


def error_of(error: ApiError) -> schema.ResponseError:
    """Why a response has failed."""
    if error.status == 429:
        return schema.ResponseError("rate_limit_exceeded", str(error), error.param)
    return schema.ResponseError("server_error" if error.status >= 500 else "invalid_prompt", str(error), error.param)


def error_event(error: ApiError) -> events.StreamError:
    """The only event of a stream that has no response."""
    return events.StreamError(code=error.code or error_of(error).code, message=str(error), param=error.param)
