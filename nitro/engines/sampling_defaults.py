"""What a model's files, or who serves it, recommend for sampling: checked by type and range where they are read.

The bounds are those of requests, too. Knows no library, no file format and no HTTP.
"""

import logging
import math
import reprlib
from collections.abc import Mapping

from msgspec import Struct

log = logging.getLogger("nitro.engine")

INT32 = 2**31 - 1

# of the numbers of SamplingParams; inclusive, None: none on that side
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "temperature": (0, 100),
    "top_n_sigma": (-1, None),
    "top_k": (-1, None),
    "typical_p": (0, 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repetition_penalty": (0.01, 100),
    "repeat_last_n": (-1, INT32),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "dynatemp_range": (0, 100),
    "dynatemp_exponent": (0, 100),
    "mirostat": (0, 2),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 100),
    "dry_multiplier": (0, 100),
    "dry_base": (1, 100),
    "dry_allowed_length": (0, INT32),
    "dry_penalty_last_n": (-1, INT32),
}
OFF_BELOW_ZERO = ("top_k", "top_n_sigma")  # -1 turns them off, as 0 does


class SamplingDefaults(Struct, frozen=True, omit_defaults=True):
    """For what a request leaves open; None: nothing is recommended. Every engine knows these."""

    temperature: float | None = None
    top_n_sigma: float | None = None
    top_k: int | None = None
    typical_p: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_last_n: int | None = None

    @property
    def given(self) -> dict[str, float]:
        """Those that are recommended; whole numbers are ints."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not None}

    def over(self, other: "SamplingDefaults") -> "SamplingDefaults":
        """These, and the other's where these are silent."""
        return SamplingDefaults(**{**other.given, **self.given})  # type: ignore[arg-type]


NOTHING = SamplingDefaults()
NAMES = SamplingDefaults.__struct_fields__
WHOLE = ("top_k", "repeat_last_n")


def check(name: str, value: object) -> float:
    """The value that SamplingDefaults may have under this name. Raises ValueError with a sentence."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise ValueError(f"{reprlib.repr(value)} is no value for {name}.")
    least, most = BOUNDS[name]
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{name} goes from {least} to {most or 'any number'}, and {value} is beyond.")
    if name in OFF_BELOW_ZERO:
        value = max(value, 0)
    if name not in WHOLE:
        return float(value)
    if value != int(value):
        raise ValueError(f"{value} is no value for {name}, which is a whole number.")
    return min(int(value), INT32)


def from_file(origin: object, content: Mapping[str, object], keys: Mapping[str, str]) -> SamplingDefaults:
    """What a model's file recommends, by its own `keys`. What is nonsense is left out, with a warning."""
    found: dict[str, float] = {}
    for name, key in keys.items():
        if (value := content.get(key)) is None:
            continue
        try:
            found[name] = check(name, value)
        except ValueError as error:
            log.warning("%s recommends %s = %s, which is left out: %s", origin, key, reprlib.repr(value), error)
    return SamplingDefaults(**found)  # type: ignore[arg-type]


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
