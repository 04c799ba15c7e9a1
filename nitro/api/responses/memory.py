"""What requests for Responses find in the store, and its errors in OpenAI's words."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Raw

from nitro.api.responses import history
from nitro.api.responses.asked import Lasting
from nitro.api.responses.history import History
from nitro.errors import ApiError
from nitro.state import conversations, items, responses
from nitro.state.conversations import Busy, Gone, NoItem
from nitro.state.responses import NotThere, Unfinished
from nitro.state.store import Store

OFF = "cannot be used: this server was started with --no-state"


class Remembered(NamedTuple):
    """What a request goes on with, for its reader. `changes`: of its conversation, see state.conversations."""

    history: bytes
    changes: int = 0


class Memory:
    """The store of one server, if it has one."""

    def __init__(self, store: Store | None):
        self._store = store

    @property
    def store(self) -> Store:
        """Raises ApiError 404 where nothing is ever kept."""
        if self._store is None:
            raise ApiError(404, "Nothing is kept here: this server was started with --no-state.")
        return self._store

    @property
    def off(self) -> bool:
        """Whether nothing is ever kept."""
        return self._store is None

    def keeps(self, asked: Lasting) -> bool:
        """Whether the response is to be kept. Raises ApiError for what a server without a store cannot do, or a
        response that is not kept."""
        if self.off:
            for name, value in (("store", asked.store), ("background", asked.background)):
                if value:
                    raise ApiError.unsupported(name, OFF)
        if asked.store is False and asked.conversation is not None:
            raise ApiError.invalid("store", "true where 'conversation' is: the response is added to it")
        return not self.off and asked.store is not False

    async def remember(self, asked: Lasting, sees: str | None = None) -> Remembered:
        """The items that a request goes on with. A reference to an item that is not there is its reader's to refuse.
        `sees`: whose are there, see users.sees_of.

        Raises ApiError, StateError."""
        if asked.previous is None and asked.conversation is None and not asked.references:
            return Remembered(b"")
        if self.off:
            return _nothing(asked)
        changes = 0
        before: list[tuple[str, bytes]] = []
        with told():
            try:
                if asked.previous is not None:
                    previous = asked.previous
                    before = await self.store.read(lambda db: responses.chain(db, previous, sees))
                elif asked.conversation is not None:
                    conversation = asked.conversation
                    changes, before = await self.store.read(lambda db: conversations.of(db, conversation, sees))
            except NotThere as error:
                raise previous_not_found(error.id) from None
            except Gone as error:
                raise conversation_not_found(error.id) from None
            except Unfinished as error:
                raise _unfinished(error) from None
            references = asked.references
            found = await self.store.read(lambda db: items.by_ids(db, references, sees)) if references else {}
        return Remembered(history.encode(History([Raw(body) for _, body in before], found)), changes)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the store does not find, as the ApiError for its client."""
    try:
        yield
    except NotThere as error:
        raise ApiError(404, f"Response with id '{error.id}' not found.") from None
    except NoItem as error:
        raise ApiError(404, f"Item with id '{error.id}' not found.") from None
    except Gone as error:
        raise ApiError(404, f"Conversation with id '{error.id}' not found.") from None
    except Busy:
        why = "Another response works on this conversation, or has just changed it. Try again when that is done."
        raise ApiError(400, why, param="conversation", code="conversation_locked") from None


def previous_not_found(id: str) -> ApiError:
    """404, with the code by which OpenAI's clients know it."""
    why = f"Previous response with id '{id}' not found."
    return ApiError(404, why, param="previous_response_id", code="previous_response_not_found")


def conversation_not_found(id: str) -> ApiError:
    """404."""
    return ApiError(404, f"Conversation with id '{id}' not found.", param="conversation")


def _unfinished(error: Unfinished) -> ApiError:
    open = error.status in ("queued", "in_progress")
    why = "has not ended yet" if open else f"is {error.status}"
    return ApiError.invalid("previous_response_id", f"a response that has an answer; '{error.id}' {why}")


def _nothing(asked: Lasting) -> Remembered:
    """What a server without a store remembers. Raises ApiError where the request needs more."""
    if asked.previous is not None:
        raise previous_not_found(asked.previous)
    if asked.conversation is not None:
        raise conversation_not_found(asked.conversation)
    return Remembered(b"")
