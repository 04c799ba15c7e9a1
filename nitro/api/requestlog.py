"""One log line per request, when it ends."""

import logging
import time

from nitro.api.reply import Replies

log = logging.getLogger("nitro.request")


class RequestLog:
    """Collects what the line says; `end` writes it, once."""

    def __init__(self, id: str):
        self.id = id
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
        ttft = speed = queued = "-"
        if generation.queue_seconds is not None:
            queued = f"{generation.queue_seconds:.3f}s"
        if self._first is not None:
            ttft = f"{self._first - self._began:.3f}s"
            if self._last > self._first:
                speed = f"{(tokens - 1) / (self._last - self._first):.1f}/s"
        log.info(
            "%s %s prompt=%d cached=%d completion=%d queue=%s ttft=%s speed=%s finish=%s%s",
            *(self.id, self.model, usage.prompt_tokens, generation.cached_tokens, tokens, queued, ttft, speed, finish),
            f" client={how}" if how == "left" else f" {how}" if how else "",
        )
