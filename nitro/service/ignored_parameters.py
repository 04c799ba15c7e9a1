"""Parameters without effect: named in the header `x-nitro-ignored`, or refused if the server is --strict."""

from urllib.parse import quote, unquote

from nitro.errors import ApiError

HEADER = "x-nitro-ignored"
MAX_HEADER = 2000  # characters of the header; clients take no endless one


def escaped(text: str) -> str:
    """Escape a name, maybe with ": " and a reason, so that it may stand in a header."""
    return quote(" ".join(text.split()), safe=" :'/[]().{}#$-_<>=+*")


def header(names: list[str]) -> dict[str, str]:
    """The header, if there are any. `names`: escaped."""
    return {HEADER: ", ".join(names)[:MAX_HEADER]} if names else {}


def shortened(names: list[str]) -> list[str]:
    """As many of them as the header can hold, plus one that `header` truncates."""
    room = MAX_HEADER
    kept: list[str] = []
    for name in names:
        kept.append(name[:MAX_HEADER])
        room -= len(name) + 2
        if room < 0:
            break
    return kept


def refuse(names: list[str]) -> None:
    """Raises ApiError 400 for the first of them, if there are any. `names`: escaped."""
    if names:
        name, _, why = unquote(names[0]).partition(": ")
        message = f"Unknown parameter: '{name}' has no effect, and this server is --strict. {why}".rstrip()
        raise ApiError(400, message, param=name, code="unknown_parameter")
