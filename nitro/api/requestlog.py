"""One log line per request, when it ends."""

import logging
import time

from nitro.api.reply import Replies
from nitro.metrics import Metrics

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
        first = None if self._first is None else self._first - self._began
        rest = self._last - (self._first or 0.0)
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
