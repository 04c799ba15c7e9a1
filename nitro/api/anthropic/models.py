"""What `GET /v1/models` says to Anthropic's clients, which send `anthropic-version` and want another list.

A page: {"data": [model], "has_more", "first_id", "last_id"}, by `limit`, `after_id` and `before_id`.
Source: Anthropic's API reference, "Models", and the types of its Python SDK 2.14.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from nitro.api.openai import schema
from nitro.errors import ApiError

PAGE, LONGEST_PAGE = 20, 1000  # models
LONGEST_NUMBER = 20  # digits of a number in a query


class AnthropicModel(Struct, tag_field="type", tag="model"):
    """A model that is offered. Both lengths are in tokens: what a prompt and its answer may have together."""

    id: str
    display_name: str
    created_at: str  # RFC 3339
    max_input_tokens: int | None
    max_tokens: int | None
    lifecycle: Literal["active"] = "active"


class AnthropicModelPage(Struct):
    """Some of the models that are offered."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def page(models: Sequence[schema.Model], query: Mapping[str, Any]) -> AnthropicModelPage:
    """The page that the query asks for. Raises ApiError 400."""
    limit = _limit(query.get("limit"))
    shown = list(map(model, models))
    after, before = (_place(shown, query.get(name), name) for name in ("after_id", "before_id"))
    if before is not None:
        begin, end = max(before - limit, 0), before
        more = begin > 0
    else:
        begin = 0 if after is None else after + 1
        end = begin + limit
        more = end < len(shown)
    data = shown[begin:end]
    return AnthropicModelPage(data, more, data[0].id if data else None, data[-1].id if data else None)


def model(model: schema.Model) -> AnthropicModel:
    """One model."""
    created = datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z")
    return AnthropicModel(model.id, model.id, created, model.context_length, model.context_length)


def _limit(value: Any) -> int:
    if value is None:
        return PAGE
    digits = str(value)
    if not (digits.isdecimal() and len(digits) <= LONGEST_NUMBER and 1 <= int(digits) <= LONGEST_PAGE):
        raise ApiError.invalid("limit", f"a number from 1 to {LONGEST_PAGE}, got '{digits[:LONGEST_NUMBER]}'")
    return int(value)


def _place(models: Sequence[AnthropicModel], id: Any, param: str) -> int | None:
    if id is None:
        return None
    found = next((i for i, each in enumerate(models) if each.id == id), None)
    if found is None:
        raise ApiError.invalid(param, f"the id of a model that is offered, got '{id}'")
    return found
