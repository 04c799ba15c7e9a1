"""Replies of the routes that look at what is kept. Items are JSON that nobody opens again.

Shapes: `openai/types/conversations/` and `responses/` of the Python SDK 3.54.
"""

from typing import Literal

from msgspec import Raw, Struct


class Conversation(Struct):
    """A conversation, without its items."""

    id: str
    created_at: int
    metadata: Raw
    object: Literal["conversation"] = "conversation"


class ConversationDeleted(Struct):
    """There is no such conversation any more."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool = True


class ResponseDeleted(Struct):
    """There is no such response any more."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ItemList(Struct):
    """A part of a list of items. `has_more`: there are others behind them."""

    data: list[Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"
