"""How long a model stays loaded without a request, as Ollama writes it. Pure.

A number is seconds, a text a duration of Go's ("5m", "1h30m", "300ms") or a number. 0: until its requests have ended;
negative: for ever. Source: Ollama's docs/faq.md, and time.ParseDuration of Go.
"""

import math
import re

FOREVER = math.inf
FORM = "seconds, or a duration such as 5m or 1h30m; 0: unloaded as soon as it is idle; -1: never"

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)", re.ASCII)


def parse(value: object) -> float:
    """Seconds; `FOREVER` for what is negative. Raises ValueError, which says what may be given."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _of_number(value)
    elif isinstance(value, str):
        seconds = _of_text(value.strip())
    else:
        seconds = None
    if seconds is None:
        raise ValueError(FORM)
    return seconds


def _of_number(value: float) -> float | None:
    return None if math.isnan(value) else FOREVER if value < 0 else float(min(value, FOREVER))


def _of_text(text: str) -> float | None:
    """None: it is no duration."""
    negative, text = text.startswith("-"), text[1:] if text[:1] in ("+", "-") else text
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif text and re.fullmatch(f"({_PART.pattern})+", text, re.ASCII):
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    else:
        return None
    return FOREVER if negative and seconds else seconds
