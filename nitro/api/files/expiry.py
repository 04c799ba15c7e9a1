"""When files are deleted, as requests say it: `{"anchor": "created_at", "seconds": 3600}`."""

from typing import Any

from nitro.api.files.schema import PURPOSES
from nitro.errors import ApiError

LEAST, MOST = 3600, 2592000  # seconds: OpenAI's bounds
ANCHOR = "created_at"
USUAL = 30 * 86400  # seconds that a file for a batch is kept


def usual_seconds(purpose: str) -> int | None:
    """How long a file is kept where nothing else is said; None: for ever. Raises ApiError 400 for a purpose that there
    is not."""
    if purpose not in PURPOSES:
        raise ApiError.invalid("purpose", f"one of {', '.join(PURPOSES)}")
    return USUAL if purpose == "batch" else None


def seconds(given: Any, param: str) -> int | None:
    """How long it is kept; None: nothing was said. A form has texts for numbers. Raises ApiError 400."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ApiError.invalid(param, "an object with 'anchor' and 'seconds'")
    for name in given:
        if name not in ("anchor", "seconds"):
            raise ApiError.invalid(f"{param}.{name}"[:100], "nothing of this name", code="unknown_parameter")
    if given.get("anchor") != ANCHOR:
        raise ApiError.invalid(f"{param}.anchor", f"'{ANCHOR}'")
    value = given.get("seconds")
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value
    if not isinstance(number, int) or isinstance(number, bool) or not LEAST <= number <= MOST:
        raise ApiError.invalid(f"{param}.seconds", f"a number of seconds from {LEAST} to {MOST}")
    return number
