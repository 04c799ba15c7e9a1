"""The prefixes that a request names, as characters of its prompt, become tokens."""

from nitro.engines.runner import Tokenizer
from nitro.engines.scheduling.kept_prefixes import KeptPrefix
from nitro.engines.scheduling.prefix_cache import MIN_PREFIX
from nitro.engines.scheduling.slots import shared_prefix
from nitro.engines.types import ModelInfo
from nitro.engines.work import Keep, MediaPrompt, Prompt, Work


class NamedPrefixes:
    """For one model. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self._tokenizer = tokenizer
        self._info = info

    def keeps(self, work: Work, tokens: list[int], points: tuple[int, ...]) -> tuple[KeptPrefix, ...]:
        """What the work wants to be kept of its first prompt, whose tokens these are. `points`: where a cache that
        cannot be cut is copied anyway. Ascending."""
        found: dict[int, KeptPrefix] = {}
        for keep in work.keeps:
            for length in self._ends(work.prompts[0], keep, tokens, points):
                if length >= MIN_PREFIX:
                    same = found.get(length, KeptPrefix(length, keep.seconds, keep.key))
                    seconds = max(same.seconds, keep.seconds)
                    found[length] = KeptPrefix(length, seconds, same.key or keep.key)
        return tuple(found[length] for length in sorted(found))

    def _ends(self, prompt: Prompt, keep: Keep, tokens: list[int], points: tuple[int, ...]) -> tuple[int, ...]:
        if keep.end is None:  # all of it; another prompt differs where the answer begins, or before
            return points or (len(tokens) - 1,)
        if isinstance(prompt, list):
            return (min(keep.end, len(tokens) - 1),)
        if isinstance(prompt, MediaPrompt):
            return ()
        shared = min(shared_prefix(self._tokenizer.encode(prompt[: keep.end]), tokens), len(tokens) - 1)
        ends_with_control = shared > 0 and not self._tokenizer.token_bytes(tokens[shared - 1])
        goes_on_with_control = not self._tokenizer.token_bytes(tokens[shared])
        # in another text the last token may be one with what follows it
        return (shared if ends_with_control or goes_on_with_control else shared - 1,)
