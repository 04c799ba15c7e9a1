"""Counts, logprobs and errors as the Responses API writes them."""

from nitro.api.responses import events, schema
from nitro.engines.types import ScoredToken
from nitro.errors import ApiError
from nitro.service.events import PlacedToken, TokenUsage


def usage_of(usage: TokenUsage) -> schema.Usage:
    """Of one answer."""
    return schema.Usage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=schema.InputTokensDetails(usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=schema.OutputTokensDetails(usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def logprobs_of(tokens: list[PlacedToken]) -> list[schema.TokenLogprob]:
    """Each with the likeliest at its place."""
    return [
        schema.TokenLogprob(
            *_spelled(token.logprobs.chosen), [schema.TopLogprob(*_spelled(top)) for top in token.logprobs.top]
        )
        for token in tokens
    ]


def _spelled(scored: ScoredToken) -> tuple[str, float, list[int]]:
    """Token, logprob, bytes."""
    return scored.text.decode(errors="replace"), scored.logprob, [] if scored.is_special else list(scored.text)


def error_of(error: ApiError) -> schema.Error:
    """Why a response has failed."""
    if error.status == 429:
        return schema.Error("rate_limit_exceeded", str(error), error.param)
    return schema.Error("server_error" if error.status >= 500 else "invalid_prompt", str(error), error.param)


def error_event(error: ApiError) -> events.Error:
    """The only event of a stream that has no response."""
    return events.Error(code=error.code or error_of(error).code, message=str(error), param=error.param)
