"""Which inputs are embedded in the next step: whole ones, of several requests together. Pure.

Users take turns, and so do a user's requests, an input of each in turn: one that came with a single input does not wait
for another's thousands.
An input that does not fit beside those that go first leaves its room to shorter ones, and is the first of the next
step.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable

from msgspec import Struct


class Piece(Struct, frozen=True):
    """Tokens that give one vector, an input or a part of one that is too long; or one score, a query and a document."""

    request: int
    place: int  # of the input in its request
    tokens: list[int]
    second: int = 0  # of a pair: see embedder.Pair


class EmbeddingQueue:
    """What waits to be embedded, by user and request. A request is forgotten with its last piece."""

    def __init__(self, step_inputs: int, lanes: int = 1):
        """`step_inputs`: pieces that a step takes; `lanes`: as many it takes whatever their length."""
        self._step_inputs = step_inputs
        self._lanes = lanes
        self._users: OrderedDict[str, OrderedDict[int, deque[Piece]]] = OrderedDict()  # whose turn is next comes first

    def __len__(self) -> int:
        return sum(len(waiting) for requests in self._users.values() for waiting in requests.values())

    def __bool__(self) -> bool:
        return bool(self._users)

    def add(self, request: int, pieces: Iterable[Piece], user: str = "") -> None:
        """Queue the pieces of a request, one at least."""
        waiting = deque(pieces)
        requests = self._users.setdefault(user, OrderedDict())
        assert waiting and request not in requests
        requests[request] = waiting

    def drop(self, request: int) -> None:
        """Forget a request. Unknown ones are ignored."""
        for user, requests in self._users.items():
            if requests.pop(request, None) is not None:
                if not requests:
                    del self._users[user]
                return

    def take_for_lane(self, budget: int, longest: int) -> list[Piece]:
        """The pieces of one lane, while others compute: of `budget` tokens in all, or one of up to `longest`. None
        where a longer one is next: it waits until all lanes are done, and the others wait behind it."""
        following = next((requests for requests in self._users.values()), None)
        if not following:
            return []
        first = next(iter(following.values()))[0]
        return self.take(budget, 1) if len(first.tokens) <= longest else []

    def take(self, budget: int, lanes: int | None = None) -> list[Piece]:
        """The pieces of the next step: of `budget` tokens in all, or one for each lane. None only where nothing
        waits. `lanes`: other than there are."""
        lanes = lanes or self._lanes
        taken: list[Piece] = []
        while len(taken) < self._step_inputs:
            piece = self._next(budget if len(taken) >= lanes else None)
            if piece is None:
                break
            taken.append(piece)
            budget -= len(piece.tokens)
        return taken

    def _next(self, budget: int | None) -> Piece | None:
        """The next piece of at most so many tokens; None: however long it is. Whose turn it was comes last."""
        for user, requests in self._users.items():
            for request, waiting in requests.items():
                if budget is not None and len(waiting[0].tokens) > budget:
                    continue
                piece = waiting.popleft()
                requests.move_to_end(request)
                self._users.move_to_end(user)
                if not waiting:
                    self.drop(request)
                return piece
        return None
