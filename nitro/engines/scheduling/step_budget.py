"""How many tokens a step may take, so that it lasts about as long as intended. Pure: it is given the times."""

import math

STREAMING = 0.25  # seconds a step may last while somebody waits for the next token of a stream
PREFILL_ONLY = 1.0  # seconds when only prompts run: so long an abort or a new request may wait
LONGEST = 1.5  # seconds it may last for the sake of fewer pieces of attention: who waits does so for less in all
MIN_TOKENS = 32  # smaller steps waste the device
FIRST_TOKENS = 256  # of a step before anything was measured
SMOOTHING = 0.3  # weight of the newest measurement


class StepBudget:
    """Learns the time per prompt token from the steps that were dominated by prompts."""

    def __init__(self, max_tokens: int, tile: int = 0, well: int = 0):
        """`max_tokens` of a step. `tile`: tokens that cost less if they are computed together; 0: any number. `well`:
        tiles together that cost less again where a prompt is long; 0: one tile."""
        self._max_tokens = max_tokens
        self._tile = tile
        self._well = min(max(well, tile), max_tokens) if tile else 0
        self._per_token: float | None = None  # seconds

    def tokens(self, streaming: bool) -> int:
        """The budget of the next step; `streaming`: some sequence decodes, in it or next.

        Complete tiles. Where even one takes longer than a step should, attention takes most of that: then as many as
        save some of it, unless they last longer than anybody should wait. Less than a tile where even one would.
        """
        if self._per_token is None:
            return min(self._max_tokens, FIRST_TOKENS)
        target = STREAMING if streaming else PREFILL_ONLY
        lowest = min(MIN_TOKENS, self._max_tokens)
        fits_all = self._per_token * self._max_tokens <= target  # asked first: a quotient by a tiny time is infinite
        tokens = self._max_tokens if fits_all else max(int(target / self._per_token), lowest)
        if not self._tile:
            return tokens
        whole = tokens // self._tile * self._tile
        if whole >= (self._tile if streaming else self._well):
            return whole
        if self._well > self._tile and self._well * self._per_token <= LONGEST:
            return self._well
        return whole or (self._tile if self._tile * self._per_token <= PREFILL_ONLY else tokens)

    def observe(self, prompt_tokens: int, seconds: float) -> None:
        """A step with this many prompt tokens took this long."""
        if prompt_tokens < MIN_TOKENS // 2 or not 0 < seconds < math.inf:
            return
        measured = seconds / prompt_tokens
        known = self._per_token
        self._per_token = measured if known is None else known + SMOOTHING * (measured - known)
