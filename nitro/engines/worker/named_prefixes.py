"""The prefixes that a request names, as characters of its prompt, become tokens."""

from collections.abc import Callable, Iterable

from nitro.engines.runner import Tokenizer
from nitro.engines.scheduling.kept_prefixes import KeptPrefix
from nitro.engines.scheduling.prefix_cache import MIN_PREFIX
from nitro.engines.scheduling.slots import shared_prefix
from nitro.engines.types import ModelInfo
from nitro.engines.work import Keep, MediaPrompt, Piece, Prompt, Work

Encode = Callable[[Iterable[Piece]], list[int]]


class NamedPrefixes:
    """For one model. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self._tokenizer = tokenizer
        self._info = info

    def keeps(self, work: Work, tokens: list[int], points: tuple[int, ...], encode: Encode) -> tuple[KeptPrefix, ...]:
        """What the work wants to be kept of its first prompt, whose tokens these are. `points`: where a cache that
        cannot be cut is copied anyway. `encode`: the ids of a beginning of the prompt. Ascending."""
        found: dict[int, KeptPrefix] = {}
        for keep in work.keeps:
            for length in self._ends(work.prompts[0], keep, tokens, points, encode):
                if length >= MIN_PREFIX:
                    same = found.get(length, KeptPrefix(length, keep.seconds, keep.key))
                    seconds = max(same.seconds, keep.seconds)
                    found[length] = KeptPrefix(length, seconds, same.key or keep.key)
        return tuple(found[length] for length in sorted(found))

    def _ends(
        self, prompt: Prompt, keep: Keep, tokens: list[int], points: tuple[int, ...], encode: Encode
    ) -> tuple[int, ...]:
        if keep.end is None:  # all of it; another prompt differs where the answer begins, or before
            return points or (len(tokens) - 1,)
        if isinstance(prompt, list):
            return (min(keep.end, len(tokens) - 1),)
        pieces = prompt.pieces if isinstance(prompt, MediaPrompt) else [prompt]
        shared = min(shared_prefix(encode(beginning(pieces, keep.end)), tokens), len(tokens) - 1)
        ends_with_control = shared > 0 and not self._has_text(tokens[shared - 1])
        goes_on_with_control = not self._has_text(tokens[shared])
        # in another text the last token may be one with what follows it
        return (shared if ends_with_control or goes_on_with_control else shared - 1,)

    def _has_text(self, token: int) -> bool:
        """Whether it adds something to the text: no control token does, and no row of media."""
        return token >= 0 and bool(self._tokenizer.token_bytes(token))


def beginning(pieces: Iterable[Piece], length: int) -> list[Piece]:
    """As much of a prompt as has so many characters in its texts. Media right behind them are in it."""
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str):
            if length <= 0 < len(piece):
                break
            found.append(piece[:length])
            length -= len(piece)
            if length < 0:
                break
        else:
            found.append(piece)
    return found
