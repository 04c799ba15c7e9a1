"""One log line per request, when it ends."""

import logging
import time

from nitro.api.openai.schema import Timings
from nitro.service.choices import Replies
from nitro.service.metrics import Metrics

log = logging.getLogger("nitro.request")


class RequestLog:
    """Collects what the line says; `end` writes it, once, and tells the metrics."""

    def __init__(self, id: str, metrics: Metrics):
        self.id = id
        self._metrics = metrics
        self.model = "-"
        self.replies: Replies | None = None
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = 0.0
        self._ended = False

    def burst(self) -> None:
        """Tokens have come."""
        self._last = time.monotonic()
        self._first = self._first or self._last

    @property
    def _times(self) -> tuple[float | None, float]:
        """Seconds until the first tokens, None before, and from there to the last."""
        if self._first is None:
            return None, 0.0
        return self._first - self._began, self._last - self._first

    def timings(self) -> Timings:
        """As far as it has come."""
        assert self.replies is not None
        usage, generation, (first, rest) = self.replies.usage, self.replies.generation, self._times
        cached, predicted = generation.cached_tokens, usage.completion_tokens
        computed, later = usage.prompt_tokens - cached, max(predicted - 1, 0)
        prefill = max((first or 0.0) - (generation.queue_seconds or 0.0), 0.0)
        timings = Timings(cached, computed, *_pace(computed, prefill), predicted, *_pace(later, rest))
        guessed, right = (sum(getattr(reply, name) for reply in self.replies.choices) for name in ("guessed", "right"))
        if guessed:
            timings.draft_n, timings.draft_n_accepted = guessed, right
        return timings

    def end(self, how: str | None = None) -> None:
        """`how`: "left", or an error; None: the finish reasons tell."""
        if self._ended:
            return
        self._ended = True
        how = how and "".join(c if c.isprintable() else " " for c in how)  # a client's words make no line of their own
        if self.replies is None:
            log.info("%s %s %s", self.id, self.model, how)
            return
        usage = self.replies.usage
        generation, tokens = self.replies.generation, usage.completion_tokens
        finish = ",".join(dict.fromkeys(reply.finish or "-" for reply in self.replies.choices))
        first, rest = self._times
        queue = generation.queue_seconds
        self._metrics.generation(usage.prompt_tokens, generation.cached_tokens, tokens, queue, first, rest)
        ttft = speed = queued = "-"
        if queue is not None:
            queued = f"{queue:.3f}s"
        if first is not None:
            ttft = f"{first:.3f}s"
            if rest > 0:
                speed = f"{(tokens - 1) / rest:.1f}/s"
        log.info(
            "%s %s prompt=%d cached=%d completion=%d queue=%s ttft=%s speed=%s finish=%s%s",
            *(self.id, self.model, usage.prompt_tokens, generation.cached_tokens, tokens, queued, ttft, speed, finish),
            f" client={how}" if how == "left" else f" {how}" if how else "",
        )


def _pace(tokens: int, seconds: float) -> tuple[float, float, float]:
    """Milliseconds, milliseconds a token, tokens a second."""
    return seconds * 1e3, seconds * 1e3 / tokens if tokens else 0.0, tokens / seconds if seconds > 0 else 0.0
