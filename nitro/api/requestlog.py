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
        self._ended = False

    def token(self) -> None:
        """A burst of tokens has come."""
        if self._first is None:
            self._first = time.monotonic()

    def end(self, how: str | None = None) -> None:
        """`how`: "left", or an error; None: the finish reasons tell."""
        if self._ended:
            return
        self._ended = True
        if self.replies is None:
            log.info("%s %s %s", self.id, self.model, how)
            return
        now, usage = time.monotonic(), self.replies.usage
        generation, tokens = self.replies.generation, usage.completion_tokens
        finish = ",".join(dict.fromkeys(reply.finish or "-" for reply in self.replies.choices))
        ttft = speed = queued = "-"
        if generation.queue_seconds is not None:
            queued = f"{generation.queue_seconds:.3f}s"
        if self._first is not None:
            ttft = f"{self._first - self._began:.3f}s"
            if tokens > 1 and now > self._first:
                speed = f"{(tokens - 1) / (now - self._first):.1f}/s"
        log.info(
            "%s %s prompt=%d cached=%d completion=%d queue=%s ttft=%s speed=%s finish=%s%s",
            *(self.id, self.model, usage.prompt_tokens, generation.cached_tokens, tokens, queued, ttft, speed, finish),
            f" client={how}" if how == "left" else f" {how}" if how else "",
        )
