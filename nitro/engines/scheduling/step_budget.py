"""How many tokens a step may take, so that it lasts about as long as intended. Pure: it is given the times."""

import math

from nitro.engines.scheduling.prompt_time import PromptTime

STREAMING = 0.25  # seconds a step may last while somebody waits for the next token of a stream
PREFILL_ONLY = 1.0  # seconds when only prompts run: so long an abort or a new request may wait
LONGEST = 1.1  # seconds it may last for the sake of fewer pieces of attention: who waits does so for less in all
LOOSE_STEEPNESS = 2.0  # see PromptTime: of rows that fill no tile, for which steps that last too long are worse
MIN_TOKENS = 32  # smaller steps waste the device
MIN_LOOSE = 8  # rows of less than a tile, each of which costs as much in any step: beside decodes they wait for those
FIRST_TOKENS = 256  # of a step before anything was measured


class StepBudget:
    """Learns the time of a prompt's tokens from the steps that were dominated by prompts."""

    def __init__(self, max_tokens: int, tile: int = 0, well: int = 0):
        """`max_tokens` of a step. `tile`: tokens that cost less if they are computed together; 0: any number. `well`:
        tiles together that cost less again where a prompt is long; 0: one tile."""
        self._max_tokens = max_tokens
        self._tile = tile
        self._well = min(max(well, tile), max_tokens) if tile else 0
        self._time = PromptTime()
        self._loose = PromptTime(LOOSE_STEEPNESS)  # of rows that fill no tile

    def tokens(self, streaming: bool, position: int = 0, wanted: int = 0) -> int:
        """The budget of the next step; `streaming`: some sequence decodes, in it or next. `position`: where its prompts
        go on, which is the furthest of them, of which so many tokens are `wanted`, 0: as many as may be.

        Complete tiles. Where even one takes longer than a step should, attention takes most of that: then as many as
        save some of it, as far as they last no longer than anybody should wait. Less than a tile where even one would,
        and less would not last longer still.
        What is wanted beyond complete tiles may take far longer: it is left to steps of its own unless it fits.
        """
        if not self._time.is_measured:
            return min(self._max_tokens, FIRST_TOKENS)
        target = STREAMING if streaming else PREFILL_ONLY
        tokens = self._usual(streaming, target, position)
        if not self._tile or not self._loose.is_measured or not 0 < wanted <= max(tokens, self._tile):
            return tokens
        whole = self._whole(wanted)
        if not whole:
            return max(self._loose.tokens(position, target, tokens), min(MIN_LOOSE, tokens))
        seconds = self._time.seconds(position, whole) + self._loose.seconds(position + whole, wanted - whole)
        return tokens if seconds <= target else whole

    def _usual(self, streaming: bool, target: float, position: int) -> int:
        """The budget of a prompt that goes on for longer."""
        tokens = self._within(target, position)
        if not self._tile:
            return tokens
        whole = self._whole(tokens)
        if whole >= (self._tile if streaming else self._well):
            return whole
        if together := max(min(self._well, self._whole(self._within(LONGEST, position))), whole):
            return together
        takes_longer = self._loose.seconds(position, tokens) > self._time.seconds(position, self._tile)
        return self._tile if takes_longer else tokens

    def observe_prompts(self, prompts: list[tuple[int, int]], seconds: float) -> None:
        """A step took this long that computed these of prompts: the first token of each, and the one behind its last.
        None: it teaches nothing."""
        if prompts:
            tokens = sum([stop - start for start, stop in prompts])
            position = sum([(stop - start) * (start + stop) / 2 for start, stop in prompts]) / tokens
            self._observe(tokens, seconds, position, max([stop - start for start, stop in prompts]))

    def observe(self, tokens: int, seconds: float) -> None:
        """A step of this many tokens, wherever they stand, took this long."""
        self._observe(tokens, seconds, 0.0, tokens)

    def _observe(self, prompt_tokens: int, seconds: float, position: float, longest: int) -> None:
        """`position`: the mean of all tokens'. `longest`: tokens of one prompt at most."""
        loose = longest < self._tile
        if prompt_tokens >= (MIN_LOOSE if loose else MIN_TOKENS) // 2 and 0 < seconds < math.inf:
            (self._loose if loose else self._time).observe(position, seconds / prompt_tokens)
            if not self._time.is_measured:
                self._time.observe(position, seconds / prompt_tokens)

    def _within(self, seconds: float, position: int) -> int:
        """Tokens that take so long, or the least that a step has."""
        lowest = min(MIN_TOKENS, self._max_tokens)
        return max(self._time.tokens(position, seconds, self._max_tokens), lowest)

    def _whole(self, tokens: int) -> int:
        return tokens // self._tile * self._tile
