"""The query of the routes that look at what is kept: each parameter is checked, and what it is for is told."""

from collections.abc import Sequence

from msgspec import Struct

from nitro.api import queries
from nitro.api.queries import Query
from nitro.api.responses.kept_schema import ItemList
from nitro.errors import ApiError
from nitro.state.items import Page, page

# `types/responses/response_includable.py` of the Python SDK 3.54. Each adds something to items, if they have it; items
# are kept with all that they have, so that there is nothing to add.
INCLUDABLE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)


class Retrieval(Struct, frozen=True):
    """How a response is asked for. `after`: the sequence number of the last event that the client knows."""

    stream: bool
    after: int


def retrieval(query: Query) -> Retrieval:
    """Raises ApiError 400."""
    check_include(query)
    queries.flag(query, "include_obfuscation")  # there is none
    stream = queries.flag(query, "stream")
    after = queries.number(query, "starting_after", -1, 0, 2**53)
    if after >= 0 and not stream:
        raise ApiError.unsupported("starting_after", "needs 'stream=true'")
    return Retrieval(stream, after)


def items_page(query: Query, items: Sequence[tuple[str, bytes]]) -> ItemList:
    """The part of a list that is asked for, as OpenAI's list. Raises ApiError 400."""
    check_include(query)
    limit = queries.number(query, "limit", 20, 1, 100)
    order = queries.choice(query, "order", ("asc", "desc")) or "desc"
    after, before = queries.one(query, "after"), queries.one(query, "before")
    found = page(items, limit, order == "desc", after, before)
    if found is None:
        raise ApiError.invalid("after" if before is None else "before", "the id of an item in this list")
    return as_list(found)


def as_list(found: Page) -> ItemList:
    """OpenAI's list."""
    first, last = (found.ids[0], found.ids[-1]) if found.ids else (None, None)
    return ItemList(found.items, first, last, found.more)


def check_include(query: Query) -> None:
    """Raises ApiError 400."""
    for name in ("include", "include[]"):
        for value in query.get(name, []):
            if value not in INCLUDABLE:
                raise ApiError.invalid("include", f"one of {', '.join(INCLUDABLE)}, got '{value}'")
