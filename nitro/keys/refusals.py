"""What who has reached a limit is told, in the words and with the codes of the OpenAI API.

Source: https://platform.openai.com/docs/guides/rate-limits and /docs/guides/error-codes.
"""

import math

from nitro.errors import ApiError
from nitro.keys.key import Rights

RATE = "rate_limit_exceeded"
QUOTA = "insufficient_quota"


def per_minute(name: str, kind: str, limit: int, wait: float) -> ApiError:
    """429. `kind`: "requests" or "tokens". `wait`: seconds after which there is room."""
    message = (
        f"Rate limit reached for key '{name}' on {kind} per minute: Limit {limit}. "
        f"Please try again in {duration(wait)}."
    )
    return ApiError(429, message, type=kind, code=RATE, retry_after=max(1, math.ceil(wait)))


def at_once(name: str, limit: int) -> ApiError:
    """429: so many requests are under way."""
    message = f"Rate limit reached for key '{name}' on requests at once: Limit {limit}. Please try again in 1s."
    return ApiError(429, message, type="requests", code=RATE, retry_after=1)


def per_day(name: str, kind: str, limit: int, wait: float) -> ApiError:
    """429: the day's share is used up. `wait`: seconds until the next day."""
    message = (
        f"You exceeded your current quota: key '{name}' has {limit} {kind} a day. "
        f"The next day begins in {duration(wait)}, at 00:00 UTC."
    )
    return ApiError(429, message, type=QUOTA, code=QUOTA, retry_after=max(1, math.ceil(wait)))


def gone(name: str) -> ApiError:
    """401: of what a key began that is computed later."""
    why = f"The key '{name}', with which this was begun, is not valid any more."
    return ApiError(401, why, code="invalid_api_key")


def expired(name: str) -> ApiError:
    """401."""
    return ApiError(401, f"The API key '{name}' has expired.", code="invalid_api_key")


def no_route(name: str, what: str) -> ApiError:
    """403. `what`: a method and a path."""
    return ApiError(403, f"The key '{name}' may not call {what}.", code="not_allowed")


def check_model(rights: Rights, id: str) -> None:
    """Raises ApiError 403 where the model or adapter of this id is not for these rights."""
    if not rights.has_model(id):
        raise ApiError(403, f"This key may not use the model '{id}'.", param="model", code="model_not_found")


def duration(seconds: float) -> str:
    """As OpenAI writes it: "120ms", "1s", "6m0s", "1h30m0s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if hours or minutes else []
    return "".join([*parts, f"{whole % 60}s"])
