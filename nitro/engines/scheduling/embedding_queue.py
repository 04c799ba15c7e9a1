"""Which inputs are embedded in the next step: whole ones, of several requests together. Pure.

Requests take turns, an input of each in turn: one that came with a single input does not wait for another's thousands.
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
    """What waits to be embedded, by request. A request is forgotten with its last piece."""

    def __init__(self, step_inputs: int, lanes: int = 1):
        """`step_inputs`: pieces that a step takes; `lanes`: as many it takes whatever their length."""
        self._step_inputs = step_inputs
        self._lanes = lanes
        self._requests: OrderedDict[int, deque[Piece]] = OrderedDict()  # whose turn is next comes first

    def __len__(self) -> int:
        return sum(map(len, self._requests.values()))

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(self, request: int, pieces: Iterable[Piece]) -> None:
        """Queue the pieces of a request, one at least."""
        waiting = deque(pieces)
        assert waiting and request not in self._requests
        self._requests[request] = waiting

    def drop(self, request: int) -> None:
        """Forget a request. Unknown ones are ignored."""
        self._requests.pop(request, None)

    def take_for_lane(self, budget: int, longest: int) -> list[Piece]:
        """The pieces of one lane, while others compute: of `budget` tokens in all, or one of up to `longest`. None
        where a longer one is next: it waits until all lanes are done, and the others wait behind it."""
        following = next(iter(self._requests.values()), None)
        return self.take(budget, 1) if following and len(following[0].tokens) <= longest else []

    def take(self, budget: int, lanes: int | None = None) -> list[Piece]:
        """The pieces of the next step: of `budget` tokens in all, or one for each lane. None only where nothing
        waits. `lanes`: other than there are."""
        lanes = lanes or self._lanes
        taken: list[Piece] = []
        passed: list[tuple[int, deque[Piece]]] = []  # requests whose next piece does not fit
        while self._requests and len(taken) < self._step_inputs:
            request, waiting = self._requests.popitem(last=False)
            if len(taken) >= lanes and len(waiting[0].tokens) > budget:
                passed.append((request, waiting))
                continue
            piece = waiting.popleft()
            taken.append(piece)
            budget -= len(piece.tokens)
            if waiting:
                self._requests[request] = waiting
        for request, waiting in reversed(passed):
            self._requests[request] = waiting
            self._requests.move_to_end(request, last=False)
        return taken
