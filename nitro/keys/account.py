"""What one key has used, and may use: admits its requests, and counts them.

    use = account.begin(counts=True)     429 where a limit is reached; else a request is under way
    use.runs(model, tokens)              its tokens are counted from here on, whenever somebody asks
    use.spent(model, counts)             they are all there
    use.end()                            it is no longer under way

Tokens are not known before a prompt is read, and an answer's only when it ends. So a request is begun while anything is
left, and what it takes beyond that is owed (see bucket.py): no stream is cut. Belongs to the event loop.
"""

from collections.abc import Callable
from typing import Literal

from nitro.errors import ApiError
from nitro.keys import refusals
from nitro.keys.bucket import MINUTE, Bucket
from nitro.keys.clock import Clock
from nitro.keys.key import Key
from nitro.keys.ledger import Ledger
from nitro.state.usage import Counts

Kind = Literal["requests", "tokens"]
KINDS: tuple[Kind, ...] = ("requests", "tokens")
Left = tuple[int, int, float]  # the limit, what is left of it, and the seconds until all of it is there again


class Account:
    """A key's, as long as the server runs: the key may change, and what was used stays used."""

    def __init__(self, name: str, key: Key, ledger: Ledger, clock: Clock):
        self.name = name
        self.key = key
        self.refused: dict[str, int] = {}  # requests, by the code that they got
        self._ledger = ledger
        self._clock = clock
        self._buckets: dict[Kind, Bucket] = {}
        self._open: set[Use] = set()
        self.at_once = 0

    def change(self, key: Key) -> None:
        """It has other rights or limits now. What is under way goes on."""
        self.key = key

    @property
    def has_expired(self) -> bool:
        """Whether it is too late for this key."""
        return self.key.has_expired(self._clock.utc())

    def begin(self, counts: bool = True) -> "Use":
        """A request begins. `counts`: it is one of those that limits are about. Raises ApiError 429."""
        try:
            if counts:
                self._check()
        except ApiError as refusal:
            code = refusal.code or "other"
            self.refused[code] = self.refused.get(code, 0) + 1
            raise
        use = Use(self, counts)
        if counts:
            self.at_once += 1
            if bucket := self._bucket("requests"):
                bucket.take(1, self._clock.steady())
        return use

    def resume(self) -> "Use":
        """A request goes on that was admitted before, in the background: only its tokens are counted."""
        return Use(self, counts=False)

    @property
    def day_is_over(self) -> bool:
        """Whether all that a day's limits allow was used."""
        return any((left := self._of_day(kind)) is not None and left[1] <= 0 for kind in KINDS)

    def _check(self) -> None:
        limit = self.key.requests_at_once
        if limit is not None and self.at_once >= limit:
            raise refusals.at_once(self.name, limit)
        for kind in KINDS:
            if (left := self._of_day(kind)) and left[1] <= 0:
                raise refusals.per_day(self.name, kind, left[0], left[2])
        now = self._clock.steady()
        for kind in KINDS:
            if (bucket := self._bucket(kind)) and (wait := bucket.until(1, now)) > 0:
                raise refusals.per_minute(self.name, kind, bucket.limit, wait)

    def left(self, kind: Kind) -> Left | None:
        """What is left of the minute's limit, or else of the day's; None: there is none."""
        bucket = self._bucket(kind)
        if bucket is None:
            return self._of_day(kind)
        level = bucket.level(self._clock.steady())
        return bucket.limit, max(int(level), 0), (bucket.limit - level) * MINUTE / bucket.limit

    def _of_day(self, kind: Kind) -> Left | None:
        limit = self.key.requests_per_day if kind == "requests" else self.key.tokens_per_day
        if limit is None:
            return None
        requests, tokens = self._ledger.today(self.name)
        if kind == "requests":
            used = requests + sum(use.counts for use in self._open)
        else:
            used = tokens + sum(use.running() for use in self._open)
        return limit, max(limit - used, 0), self._clock.until_tomorrow

    def _bucket(self, kind: Kind) -> Bucket | None:
        """As full as it is now. One that was not needed before is full."""
        limit = self.key.requests_per_minute if kind == "requests" else self.key.tokens_per_minute
        if limit is None:
            self._buckets.pop(kind, None)
            return None
        now = self._clock.steady()
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = Bucket(limit, now)
        elif bucket.limit != limit:
            bucket.resize(limit, now)
        if kind == "tokens":
            for use in self._open:
                bucket.take(use.unpaid(), now)
        return bucket

    # For uses

    def opened(self, use: "Use") -> None:
        """It is under way."""
        self._open.add(use)

    def spent(self, use: "Use", model: str, counts: Counts) -> None:
        """These are its tokens."""
        if bucket := self._buckets.get("tokens"):
            bucket.take(use.unpaid(counts.tokens), self._clock.steady())
        self._ledger.add(self.name, model, counts)

    def ended(self, use: "Use", model: str) -> None:
        """It is no longer under way."""
        self._open.discard(use)
        if use.counts:
            self.at_once -= 1
            self._ledger.add(self.name, model, Counts(requests=1))


class Use:
    """A request of a key. `counts`: it is one of those that limits are about."""

    def __init__(self, account: Account, counts: bool):
        self.account = account
        self.key = account.key  # as it was when the request came
        self.counts = counts
        self._model = ""
        self._tokens: Callable[[], int] | None = None  # so far, of what runs
        self._paid = 0  # of these
        self._ended = False
        account.opened(self)

    def runs(self, model: str, tokens: Callable[[], int]) -> None:
        """A model computes for it. `tokens`: tells how many there are so far."""
        self._model, self._tokens, self._paid = model, tokens, 0

    def spent(self, model: str, counts: Counts) -> None:
        """What runs has ended, with so many tokens."""
        self._model = model
        self.account.spent(self, model, counts)
        self._tokens, self._paid = None, 0

    def running(self) -> int:
        """Tokens so far of what has not ended."""
        return self._tokens() if self._tokens else 0

    def unpaid(self, total: int | None = None) -> int:
        """Those since this was last asked. `total`: how many there are; None: as many as there are by now."""
        total = self.running() if total is None else total
        new, self._paid = total - self._paid, total
        return new

    def end(self) -> None:
        """It may be called again."""
        if not self._ended:
            self._ended = True
            self.account.ended(self, self._model)
