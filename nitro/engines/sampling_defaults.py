"""What a model's files, or whoever serves it, recommend for sampling. Names and bounds: sampling_params.py.

Values are checked where they are read. Knows no library, no file format and no HTTP.
"""

import logging
import math
import reprlib
from collections.abc import Mapping

from nitro.engines.sampling_params import ALIASES, NEUTRAL, NUMBERS, SPEC, SamplingOptions, clean

log = logging.getLogger("nitro.engine")

# Only what every engine has can be a default: a request could not be refused for it.
NAMES = tuple(name for name in NUMBERS if SPEC[name].capability is None)


class SamplingDefaults(SamplingOptions, frozen=True, omit_defaults=True):
    """What is used where a request sets nothing; only NAMES can be set. None: nothing is recommended."""

    @property
    def values(self) -> dict[str, float]:
        """Those that are recommended; whole numbers are ints."""
        values = ((name, getattr(self, name)) for name in NAMES)
        return {name: value for name, value in values if value is not None}

    def over(self, other: "SamplingDefaults") -> "SamplingDefaults":
        """These, and the other's for what these leave out."""
        return SamplingDefaults(**{**other.values, **self.values})  # type: ignore[arg-type]


NOTHING = SamplingDefaults()


def parse(text: str) -> SamplingDefaults:
    """Read "name=number,…" (`--defaults`); aliases are understood. Raises ValueError with a sentence."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        name = ALIASES.get(name.strip(), name.strip())
        if name not in NAMES:
            raise ValueError(f"{name!r} is not one of {', '.join(NAMES)}.")
        try:
            value = type(getattr(NEUTRAL, name))(number)
        except ValueError:
            raise ValueError(f"{number!r} is not a value for {name}.") from None
        found[name] = check(name, value)
    return SamplingDefaults(**found)  # type: ignore[arg-type]


def from_file(origin: object, content: Mapping[str, object], keys: Mapping[str, str]) -> SamplingDefaults:
    """What a model's file recommends. `keys`: the file's keys, by our names. Nonsense is left out, with a warning."""
    found: dict[str, float] = {}
    for name, key in keys.items():
        if (value := content.get(key)) is None:
            continue
        try:
            found[name] = check(name, value)
        except ValueError as error:
            log.warning("%s recommends %s = %s, which is left out: %s", origin, key, reprlib.repr(value), error)
    return SamplingDefaults(**found)  # type: ignore[arg-type]


def check(name: str, value: object) -> float:
    """The value as SamplingDefaults may have it under this name, one of NAMES. Raises ValueError with a sentence."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise ValueError(f"{reprlib.repr(value)} is not a value for {name}.")
    ge, le = SPEC[name].ge, SPEC[name].le
    if (ge is not None and value < ge) or (le is not None and value > le):
        bounds = f"at least {ge}" if le is None else f"between {ge} and {le}"
        raise ValueError(f"{name} must be {bounds}, not {value}.")
    if isinstance(getattr(NEUTRAL, name), float):
        return clean(name, float(value))
    if value != int(value):
        raise ValueError(f"{name} must be a whole number, not {value}.")
    return clean(name, int(value))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
