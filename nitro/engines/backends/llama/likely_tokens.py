"""Which few tokens a sampler chain can draw, found without copying or sorting the vocabulary.

Where the chain's first filter keeps only the likeliest tokens, NumPy finds those in a third to a tenth of the time, and
the chain does the rest with them alone: the same draw. Where there is no filter, a column of tokens is drawn, then one
of its tokens: by two random numbers instead of one, from the same distribution.
"""

import math
from typing import Any

import numpy as np

from nitro.engines.types import COLD, SamplingParams

ROWS = 96  # tokens of a column. A vector goes along the columns, so few rows would be as slow as few columns
LEAST_COLUMNS = 2  # for each token to keep; fewer tell too little
MARGIN = 1e-3  # of a logit: more than rounding makes of it
NUCLEUS = 256  # tokens that hold most of what top_p keeps, as a rule
LEAST_LOGIT = float(np.finfo(np.float32).min)  # what is lower is out


def biased(logits: Any, bias: dict[int, float]) -> Any:
    """The logits with each token's bias, as llama.cpp adds it: float32 [vocabulary]."""
    if not bias:
        return logits
    logits = logits.copy()
    known = {token: value for token, value in bias.items() if token < len(logits)}
    logits[list(known)] += np.fromiter(known.values(), np.float32, len(known))
    return logits


def kept(sampling: SamplingParams, logits: Any) -> Any:
    """Places among which are all tokens that the chain's filters keep, ascending; None where that is not known. Where
    this does what top_p says (`applies_top_p`): those that it keeps, the likeliest first.

    `logits`: float32 [tokens], with their biases.
    """
    if applies_top_p(sampling):
        return _nucleus(logits, sampling.top_p)
    if _is_unknown(sampling):
        return None
    if sampling.top_k > 0:
        least = _least_of_top(logits, sampling.top_k)
    elif sampling.min_p > 0 and sampling.typical_p >= 1:
        least = logits.max() + (math.log(sampling.min_p) - MARGIN)
    else:
        return None
    return None if least is None else np.flatnonzero(logits >= max(least, LEAST_LOGIT))


def applies_top_p(sampling: SamplingParams) -> bool:
    """Whether top_p is done here, and no part of the chain: it is the first filter, and goes by all of the logits."""
    first = sampling.top_k <= 0 and sampling.typical_p >= 1
    return first and sampling.top_p < 1 and not _is_unknown(sampling)


def draws_of_all(sampling: SamplingParams) -> bool:
    """Whether any token may be drawn, by its logit and the temperature alone."""
    return not (_is_unknown(sampling) or sampling.weighs_others)


def columns(logits: Any, temperature: float) -> Any:
    """Logits of columns of tokens, float32 [columns], to be drawn from with the same temperature: column i of n has the
    tokens i, i + n, i + 2 n, and so on. `logits`: as for `kept`."""
    count = -(-len(logits) // ROWS)
    whole = len(logits) // count * count
    weights = (logits - logits.max()) / np.float32(temperature)
    np.exp(weights, out=weights)
    sums = weights[:whole].reshape(-1, count).sum(axis=0)
    sums[: len(logits) - whole] += weights[whole:]
    with np.errstate(divide="ignore"):
        return np.log(sums) * np.float32(temperature)


def _is_unknown(sampling: SamplingParams) -> bool:
    """Whether something before the filters depends on more than the logits and biases, or they are of another kind."""
    changed = sampling.penalises or sampling.dry_multiplier or sampling.top_n_sigma > 0 or sampling.mirostat
    return bool(changed) or sampling.temperature < COLD


def _least_of_top(logits: Any, count: int) -> Any:
    """At least `count` tokens have this logit or a higher one: it is the count-th highest of the columns' maxima."""
    columns = len(logits) // ROWS
    if columns < LEAST_COLUMNS * count:
        return None
    highest = logits[: columns * ROWS].reshape(ROWS, columns).max(axis=0)
    return np.partition(highest, columns - count)[columns - count]


def _nucleus(logits: Any, share: float) -> Any:
    """The places of the likeliest tokens, falling, as many as together have this share."""
    weights = logits - logits.max()
    np.exp(weights, out=weights)
    wanted = share * weights.sum()
    least = _least_of_top(weights, NUCLEUS)
    places = np.flatnonzero(weights >= (0 if least is None else least))
    if weights[places].sum() < wanted:
        # what is lighter has too little all together
        places = np.flatnonzero(weights >= (1 - share) * weights.sum() / len(weights))
    places = places[np.argsort(-weights[places], kind="stable")]
    return places[: 1 + np.searchsorted(np.cumsum(weights[places]), wanted)]
