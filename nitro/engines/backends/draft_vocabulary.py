"""Whether one model can draft for another: their vocabularies, compared token by token. Pure; any engine.

The same text must be the same token in both. Only special tokens (control, unused, or added by hand) may be missing in
one of them, or stand at another id. Then ids are mapped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nitro.engines.runner import LoadError

NONE = -1  # no such token in the other vocabulary


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a model. `texts`: how each id is written, the same way for both models. `is_special`: asked only
    about ids whose text the other model does not have."""

    name: str  # of the model, for messages
    texts: Sequence[str]
    is_special: Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class TokenMap:
    """Token ids of the target as those of its draft model, and back. None: they are the same."""

    to_draft: np.ndarray | None = None  # int32 [target's vocabulary], NONE where the draft model has no such token
    to_target: np.ndarray | None = None  # int32 [draft's vocabulary], NONE where the target has no such token

    def draft_ids(self, tokens: Sequence[int], instead: int) -> list[int]:
        """The target's tokens for the draft model. `instead`: the draft's id that stands for what it does not have."""
        if self.to_draft is None:
            return list(tokens)
        ids = self.to_draft[np.asarray(tokens, np.int64)]
        return [int(id) for id in np.where(ids == NONE, instead, ids)]

    def target_id(self, token: int) -> int:
        """The draft model's token as the target's; NONE where it has no counterpart."""
        return token if self.to_target is None else int(self.to_target[token])


def check(target: Vocabulary, draft: Vocabulary) -> TokenMap:
    """The mapping between both. Raises LoadError, naming the first token that only one of them has."""
    if list(target.texts) == list(draft.texts):
        return TokenMap()
    to_draft = _ids_in(target, draft)
    to_target = _ids_in(draft, target)
    _refuse_missing(target, draft, to_draft, draft.name)
    _refuse_missing(draft, target, to_target, draft.name)
    return TokenMap(to_draft, to_target)


def _ids_in(of: Vocabulary, other: Vocabulary) -> np.ndarray:
    """For each token the id of the same text in the other vocabulary: its own id, if it is there."""
    index = {text: id for id, text in reversed(list(enumerate(other.texts)))}
    same = (id < len(other.texts) and text == other.texts[id] for id, text in enumerate(of.texts))
    ids = (
        id if is_same else index.get(text, NONE) for id, (text, is_same) in enumerate(zip(of.texts, same, strict=True))
    )
    return np.fromiter(ids, np.int32, len(of.texts))


def _refuse_missing(of: Vocabulary, other: Vocabulary, ids: np.ndarray, draft_name: str) -> None:
    for id in map(int, np.flatnonzero(ids == NONE)):
        if of.is_special(id):
            continue
        there = f"has {other.texts[id]!r} there" if id < len(other.texts) else f"ends at {len(other.texts)} tokens"
        raise LoadError(
            f"--draft {draft_name} has another vocabulary than the model, so its guesses would be other texts: token "
            f"{id} of {of.name} is {of.texts[id]!r}, and {other.name} {there}."
        )
