"""How many tokens a step may take, so that a step lasts as long as wanted. Pure: the times are given to it."""

STREAMING = 0.25  # seconds a step may last while somebody waits for the next token of a stream
ALONE = 1.0  # seconds when only prompts run: an abort or a newcomer waits no longer
LEAST = 32  # tokens; smaller steps waste the device
SMOOTHING = 0.3  # weight of the newest measurement


class StepBudget:
    """Learns the time per prompt token from the steps that were dominated by prompts."""

    def __init__(self, most: int, tile: int = 0):
        """`most`: tokens a step takes. `tile`: tokens that cost less if they are computed together; 0: any number."""
        self._most = most
        self._tile = tile
        self._per_token: float | None = None  # seconds

    def tokens(self, streaming: bool) -> int:
        """The budget of the next step; `streaming`: some sequence decodes, in it or next. Whole tiles, unless one lasts
        too long for anybody."""
        if self._per_token is None:
            return min(self._most, 256)
        target = STREAMING if streaming else ALONE
        wanted = max(min(int(target / self._per_token), self._most), min(LEAST, self._most))
        if wanted < self._tile:
            return self._tile if self._tile * self._per_token <= ALONE else wanted
        return wanted // self._tile * self._tile if self._tile else wanted

    def observe(self, prompt_tokens: int, seconds: float) -> None:
        """A step with this many prompt tokens took this long."""
        if prompt_tokens < LEAST // 2 or seconds <= 0:
            return
        per_token = seconds / prompt_tokens
        old = self._per_token
        self._per_token = per_token if old is None else old + SMOOTHING * (per_token - old)
