"""When things happen in one request: time to first token and so on, for its log line, its timings, the metrics, and
whoever watches the server."""

import asyncio
import logging
import time

from nitro.engines.client.generation import Generation
from nitro.errors import RequestAborted
from nitro.keys.account import Use
from nitro.service.choices import Choices
from nitro.service.events import GenerationTimings
from nitro.service.live.requests import Requests
from nitro.service.live.state import LiveRequest, LiveSpan, Phase
from nitro.service.metrics import Metrics
from nitro.state.usage import Counts

log = logging.getLogger("nitro.request")

MAX_IGNORED = 200  # characters of a line
MAX_SPANS = 32  # of an answer
ENDS: dict[str | None, Phase] = {None: "done", "told": "done", "left": "left"}  # by how it ended; else it failed


class RequestLog:
    """Notes when things happen, from the request's head on. `end` writes the log line, once, and feeds the metrics."""

    def __init__(self, id: str, metrics: Metrics, requests: Requests, route: str, left: asyncio.Future[None]):
        """`requests`: those of the server. `route`, `left`: see Principal."""
        self.id = id
        self._route = route
        self._left = left
        self._metrics = metrics
        self._requests = requests
        self.aborted: RequestAborted | None = None  # somebody else than its client has ended it
        self.use: Use | None = None  # of a key, to be told of tokens
        self.model = "-"
        self.adapter: str | None = None  # of the model, that answers in its place
        self.choices: Choices | None = None
        self.ignored: list[str] = []  # parameters without effect
        self.fingerprint: str | None = None  # of the model, with its adapters
        self.template: str | None = None  # the source of the chat template that the prompt was made with
        self.how: str | None = None  # it ended: see `end`
        self._embedded: dict[str, int] = {}  # what is told of a request for embeddings
        self._since = time.time()
        self._began = time.monotonic()
        self._accepted = self._began
        self._first: float | None = None
        self._last = 0.0
        self._end_time: float | None = None
        self._how: str | None = None
        requests.begin(self)

    def of(self, model: str) -> None:
        """The request is for this model."""
        self.model = model

    def accepted(self, choices: Choices) -> None:
        """The engine has accepted the request: from here on its time counts as the prompt's, but for the queue."""
        self._accepted = time.monotonic()
        self.choices = choices
        if self.use:
            self.use.runs(self.adapter or self.model, choices.count)

    def embedded(self, inputs: int, tokens: int) -> None:
        """The engine has accepted so many inputs, of so many tokens together."""
        self._accepted = time.monotonic()
        self._embedded = {"inputs": inputs, "prompt": tokens}
        if self.use:
            self.use.runs(self.model, lambda: tokens)

    def burst(self) -> None:
        """Tokens have come."""
        self._last = time.monotonic()
        self._first = self._first or self._last

    @property
    def _seconds(self) -> tuple[float | None, float]:
        """Until the first tokens, None before; and from there to the last."""
        if self._first is None:
            return None, 0.0
        return self._first - self._began, self._last - self._first

    def timings(self) -> GenerationTimings:
        """As far as it has come. Needs `choices`."""
        assert self.choices is not None
        choices = self.choices.choices
        generation = self.choices.generation
        _, later = self._seconds
        until_first = 0.0 if self._first is None else self._first - self._accepted
        return GenerationTimings(
            cached_tokens=generation.cached_tokens,
            computed_prompt_tokens=generation.prompt_tokens - generation.cached_tokens,
            prompt_seconds=max(until_first - (generation.queue_seconds or 0.0), 0.0),
            completion_tokens=sum(choice.tokens for choice in choices),
            completion_seconds=later,
            drafted_tokens=sum(choice.drafted for choice in choices),
            accepted_tokens=sum(choice.accepted for choice in choices),
        )

    @property
    def queue_seconds(self) -> float | None:
        """Until it got a slot; None: it has none yet."""
        return self.choices.generation.queue_seconds if self.choices else None

    @property
    def first_token_seconds(self) -> float | None:
        """Until the first tokens; None before."""
        return self._seconds[0]

    @property
    def embedded_tokens(self) -> int | None:
        """Of a request for embeddings that was accepted."""
        return self._embedded.get("prompt")

    def end(self, how: str | None = None) -> None:
        """`how`: "left", or an error; None: the finish reasons say it."""
        if self._end_time is not None:
            return
        self._end_time = time.monotonic()
        if self.aborted and how == "left":
            how = f"error: {self.aborted}"
        self.how = how
        how = how and "".join(c if c.isprintable() else " " for c in how)  # a client's words make no line of their own
        self._how = how
        self._requests.end(self)
        if self._embedded:
            self._end_embedding(how)
        elif self.choices is None:
            log.info("%s %s %s", self.id, self.model, how)
        else:
            self._end(self.choices, how)

    def _end_embedding(self, how: str | None) -> None:
        self._metrics.of(self.model).embedding(self._embedded["inputs"], self._embedded["prompt"])
        if self.use:
            self.use.spent(self.model, Counts(prompt=self._embedded["prompt"]))
        numbers = " ".join(f"{name}={value}" for name, value in self._embedded.items())
        line = f"{numbers} time={time.monotonic() - self._began:.3f}s"
        self._write(line, how)

    def _write(self, line: str, how: str | None) -> None:
        if self.use:
            line += f" key={self.use.account.name}"
        if self.ignored:
            line += f" ignored={','.join(self.ignored)[:MAX_IGNORED]}"
        if how:
            line += f" client={how}" if how == "left" else f" {how}"
        log.info("%s %s %s", self.id, self.adapter or self.model, line)

    def _end(self, choices: Choices, how: str | None) -> None:
        usage = choices.usage
        tokens = usage.completion_tokens
        queue = choices.generation.queue_seconds
        first, later = self._seconds
        self._metrics.of(self.model).generation(usage, queue, first, later)
        if self.use:
            self.use.spent(self.adapter or self.model, Counts(0, usage.prompt_tokens, usage.cached_tokens, tokens))
        numbers = {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "completion": tokens,
            "queue": "-" if queue is None else f"{queue:.3f}s",
            "ttft": "-" if first is None else f"{first:.3f}s",
            "speed": f"{(tokens - 1) / later:.1f}/s" if later > 0 else "-",
            "finish": ",".join(dict.fromkeys(choice.finish or "-" for choice in choices.choices)),
        }
        self._write(" ".join(f"{name}={value}" for name, value in numbers.items()), how)

    # For whoever watches the server

    def abort(self) -> None:
        """See Underway."""
        self.aborted = RequestAborted()
        if self.generation:
            self.generation.fail(self.aborted)
        elif not self._left.done():
            self._left.set_result(None)

    @property
    def generation(self) -> Generation | None:
        """See Underway."""
        return self.choices.generation if self.choices else None

    @property
    def state(self) -> LiveRequest:
        """See Underway."""
        choices = self.choices.choices if self.choices else []
        generation = self.generation
        queued = generation.queue_seconds if generation else None
        accepted = self._accepted if generation or self._embedded else None
        begun = choices[0].begun[:MAX_SPANS] if choices else []
        return LiveRequest(
            id=self.id,
            route=self._route,
            model=self.adapter or self.model,
            phase=self.phase,
            began=self._since,
            accepted=self._after(accepted),
            started=None if queued is None else self._after(self._accepted + queued),
            first=self._after(self._first),
            last=self._after(self._last) if self._first else None,
            ended=self._after(self._end_time),
            spans=[LiveSpan(channel, at - self._began) for channel, at in begun],
            prompt_tokens=generation.prompt_tokens if generation else self._embedded.get("prompt", 0),
            cached_tokens=generation.cached_tokens if generation else 0,
            completion_tokens=sum(choice.tokens for choice in choices),
            inputs=self._embedded.get("inputs", 0),
            finish=list(dict.fromkeys(choice.finish for choice in choices if choice.finish)),
            reason=self._how if self.phase == "failed" else None,
        )

    def _after(self, time: float | None) -> float | None:
        """Seconds from the request's head to then."""
        return None if time is None else time - self._began

    @property
    def phase(self) -> Phase:
        """See Underway."""
        if self._end_time is not None:
            return ENDS.get(self._how, "failed")
        if self.choices is None:
            return "prompt" if self._embedded else "reading"
        if self._first is not None:
            return "answer"
        return "queued" if self.choices.generation.queue_seconds is None else "prompt"
